"""What pods.db holds: a row per sandbox and per container, and the states that they go through.

    sandbox    creating -> ready -> notready -> removing -> (no row)
    container  creating -> created -> starting -> running -> exited -> removing -> (no row)

A row is there before the first thing that it describes is made and until the last one is gone. Whoever takes
an object through `creating`, `starting` or `removing` holds its claim (Pods.claim) meanwhile, so a row in one
of these states whose claim is free tells of a process that died. `held` says whether a sandbox has parts on
the machine: stopping it takes them away.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from orlop.kit.database import Database

CREATING, READY, NOTREADY, REMOVING = "creating", "ready", "notready", "removing"
CREATED, STARTING, RUNNING, EXITED = "created", "starting", "running", "exited"

#: A sandbox that somebody must be at work on, or must have been.
UNFINISHED_SANDBOX = "(state <> 'ready' AND held = 1 OR state = 'removing')"

LOST = "Lost"
LOST_EXIT_CODE = 255
START_ERROR = "StartError"  # the reason of a container whose program cannot be executed
START_EXIT_CODE = 128
#: The name of a container that exists for a step of a build: it ends with the process that builds.
BUILD_STEP = "orlop-build"

MIGRATIONS = (
    """
    CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
    CREATE TABLE sandboxes (
        id TEXT PRIMARY KEY,
        namespace TEXT NOT NULL,
        name TEXT NOT NULL,
        uid TEXT NOT NULL,
        attempt INTEGER NOT NULL,
        state TEXT NOT NULL,
        boot TEXT NOT NULL,
        created REAL NOT NULL,
        config TEXT NOT NULL,
        addresses TEXT NOT NULL DEFAULT '{}',
        attached INTEGER NOT NULL DEFAULT 0,
        held INTEGER NOT NULL DEFAULT 1,
        init_pid INTEGER NOT NULL DEFAULT 0,
        UNIQUE (namespace, name, uid, attempt)
    );
    CREATE TABLE containers (
        id TEXT PRIMARY KEY,
        sandbox_id TEXT NOT NULL REFERENCES sandboxes (id),
        name TEXT NOT NULL,
        attempt INTEGER NOT NULL,
        state TEXT NOT NULL,
        boot TEXT NOT NULL,
        created REAL NOT NULL,
        started REAL NOT NULL DEFAULT 0,
        finished REAL NOT NULL DEFAULT 0,
        exit_code INTEGER NOT NULL DEFAULT 0,
        reason TEXT NOT NULL DEFAULT '',
        message TEXT NOT NULL DEFAULT '',
        pid INTEGER NOT NULL DEFAULT 0,
        pid_start INTEGER NOT NULL DEFAULT 0,
        image_id TEXT NOT NULL,
        log_path TEXT NOT NULL,
        remove INTEGER NOT NULL DEFAULT 0,
        config TEXT NOT NULL,
        process TEXT NOT NULL DEFAULT '{}',
        UNIQUE (sandbox_id, name, attempt)
    );
    """,
)


class Records:
    """The tables of pods.db. Every method is one transaction or one query."""

    def __init__(self, path: str) -> None:
        self.database = Database(path, MIGRATIONS)

    def unfinished(self) -> tuple[str, list[str], list[tuple[int, int]], float]:
        """What a look at the records tells about dead processes and past boots.

        The boot of the last recovery ("" before the first); the IDs of objects that somebody must be at work
        on, and of locks that live builds hold ("ID.owner"); (pid, pid_start) of the containers that are to be
        removed after their end; when to ask the network again to let go of what it could not (0: there is
        nothing).
        """
        boot, unfinished, removing, network = self.database.query(
            "SELECT (SELECT value FROM facts WHERE name = 'boot'),"  # noqa: S608 - a constant of ours
            f" (SELECT group_concat(id) FROM (SELECT id FROM sandboxes WHERE {UNFINISHED_SANDBOX}"
            " UNION ALL SELECT id FROM containers WHERE state IN ('creating', 'starting', 'removing'))),"
            " EXISTS (SELECT 1 FROM containers WHERE remove = 1),"
            " (SELECT value FROM facts WHERE name = 'network')"
        )[0]
        found: list[tuple[int, int]] = []
        if removing:
            rows = self.database.query(
                "SELECT pid, pid_start, name, id FROM containers"
                " WHERE remove = 1 AND state IN ('running', 'exited')"
            )
            found = [(row[0], row[1]) for row in rows]
            owners = [f"{row[3]}.owner" for row in rows if row[2] == BUILD_STEP]
            unfinished = ",".join(filter(None, (unfinished, *owners)))
        return boot or "", unfinished.split(",") if unfinished else [], found, float(network or 0)

    def ask_network_at(self, moment: float) -> None:
        """Write down when the network is to be asked again; 0: never, all is done."""
        with self.database.transaction() as connection:
            if moment:
                connection.execute("INSERT OR REPLACE INTO facts VALUES ('network', ?)", (str(moment),))
            else:
                connection.execute("DELETE FROM facts WHERE name = 'network'")

    def insert(self, table: str, *rows: dict[str, object]) -> bool:
        """Add rows in one transaction; False where an object of that identity is there already."""
        try:
            with self.database.transaction() as connection:
                for row in rows:
                    _insert(connection, table, row)
        except sqlite3.IntegrityError:
            return False
        return True

    def insert_pair(self, sandbox: dict[str, object], container: dict[str, object]) -> bool:
        """Add a sandbox and its container in one transaction; False where a sandbox of that name is there."""
        try:
            with self.database.transaction() as connection:
                taken = connection.execute(
                    "SELECT 1 FROM sandboxes WHERE namespace = ? AND name = ?",
                    (sandbox["namespace"], sandbox["name"]),
                )
                if taken.fetchone() is not None:
                    return False
                _insert(connection, "sandboxes", sandbox)
                _insert(connection, "containers", container)
        except sqlite3.IntegrityError:
            return False
        return True

    def insert_container(self, row: dict[str, object]) -> bool:
        """Add a container if its sandbox is ready and has no container of that name and attempt."""
        columns = ", ".join(row)
        marks = ", ".join("?" * len(row))
        try:
            with self.database.transaction() as connection:
                done = connection.execute(
                    f"INSERT INTO containers ({columns}) SELECT {marks}"  # noqa: S608 - names are ours
                    " WHERE EXISTS (SELECT 1 FROM sandboxes WHERE id = ? AND state = 'ready')",
                    (*row.values(), row["sandbox_id"]),
                )
                return done.rowcount == 1
        except sqlite3.IntegrityError:
            return False

    def update(self, table: str, identifier: str, *, only_in: Sequence[str] = (), **values: object) -> bool:
        """Set columns of a row; with `only_in`, only while it is in one of these states.

        Durable where it says how a container ended. The other states end with the machine's boot, whatever
        was written last: after a power cut `after_reboot` and recovery go on from an earlier one as well.
        """
        with self.database.transaction(durable="finished" in values) as connection:
            return update(connection, table, identifier, only_in=only_in, **values)

    def delete(self, table: str, identifier: str) -> None:
        with self.database.transaction() as connection:
            connection.execute(f"DELETE FROM {table} WHERE id = ?", (identifier,))  # noqa: S608

    def delete_pair(self, sandbox_id: str, container_id: str) -> bool:
        """Delete a container and its sandbox, if it was the only one in it; else the container alone."""
        with self.database.transaction() as connection:
            connection.execute("DELETE FROM containers WHERE id = ?", (container_id,))
            done = connection.execute(
                "DELETE FROM sandboxes WHERE id = ? AND NOT EXISTS"
                " (SELECT 1 FROM containers WHERE sandbox_id = ?)",
                (sandbox_id, sandbox_id),
            )
            return done.rowcount == 1

    def row(self, table: str, identifier: str) -> sqlite3.Row | None:
        found = self.database.query(f"SELECT * FROM {table} WHERE id = ?", (identifier,))  # noqa: S608
        return found[0] if found else None

    def rows(self, table: str, where: str = "", parameters: Sequence[object] = ()) -> list[sqlite3.Row]:
        """Rows in the order in which they were made. `where` is a constant of ours, values are parameters."""
        condition = f" WHERE {where}" if where else ""
        return self.database.query(
            f"SELECT * FROM {table}{condition} ORDER BY created, id",  # noqa: S608
            parameters,
        )

    def identified(self, namespace: str, name: str, uid: str, attempt: int) -> sqlite3.Row | None:
        """The sandbox of this identity."""
        found = self.database.query(
            "SELECT * FROM sandboxes WHERE namespace = ? AND name = ? AND uid = ? AND attempt = ?",
            (namespace, name, uid, attempt),
        )
        return found[0] if found else None

    def after_reboot(self, boot: str, now: float) -> None:
        """Write down that whatever another boot ran is gone, and that this has been done."""
        with self.database.transaction() as connection:
            connection.execute(
                "UPDATE containers SET state = 'exited', exit_code = ?, reason = ?, finished = ?, pid = 0,"
                " message = 'the machine was restarted while it ran'"
                " WHERE boot <> ? AND state IN ('created', 'starting', 'running')",
                (LOST_EXIT_CODE, LOST, now, boot),
            )
            connection.execute(
                "UPDATE sandboxes SET state = 'notready', init_pid = 0 WHERE boot <> ? AND state = 'ready'",
                (boot,),
            )
            connection.execute("INSERT OR REPLACE INTO facts VALUES ('boot', ?)", (boot,))


def update(
    connection: sqlite3.Connection,
    table: str,
    identifier: str,
    *,
    only_in: Sequence[str] = (),
    **values: object,
) -> bool:
    """`Records.update` inside a transaction of the caller's."""
    columns = ", ".join(f"{name} = ?" for name in values)
    states = f" AND state IN ({', '.join('?' * len(only_in))})" if only_in else ""
    done = connection.execute(
        f"UPDATE {table} SET {columns} WHERE id = ?{states}",  # noqa: S608 - names are ours
        (*values.values(), identifier, *only_in),
    )
    return done.rowcount == 1


def _insert(connection: sqlite3.Connection, table: str, row: dict[str, object]) -> None:
    columns = ", ".join(row)
    marks = ", ".join("?" * len(row))
    connection.execute(f"INSERT INTO {table} ({columns}) VALUES ({marks})", tuple(row.values()))  # noqa: S608
