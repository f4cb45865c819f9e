"""Plans and how far they got, in SQLite: whoever comes next, in any process, goes on from there."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping

from orlop.kit import limits
from orlop.kit.database import Database
from orlop.kit.errors import Corrupt, NotFound
from orlop.kit.value import dataclass, field
from orlop.plan.model import Plan

_MIGRATIONS = (
    """
    CREATE TABLE plans (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        scope TEXT NOT NULL,
        digest TEXT NOT NULL,
        body TEXT NOT NULL,
        state TEXT NOT NULL CHECK (state IN ('open', 'finished', 'superseded')),
        began REAL NOT NULL,
        ended REAL
    );
    CREATE INDEX plans_open ON plans (state, scope, digest);
    CREATE TABLE steps (
        plan INTEGER NOT NULL REFERENCES plans (id) ON DELETE CASCADE,
        step TEXT NOT NULL,
        state TEXT NOT NULL CHECK (state IN ('done', 'failed')),
        error TEXT NOT NULL DEFAULT '',
        at REAL NOT NULL,
        PRIMARY KEY (plan, step)
    ) WITHOUT ROWID;
    """,
)


@dataclass(frozen=True)
class Recorded:
    """A plan of the journal. `state` is open, finished or superseded; times in seconds since the epoch."""

    id: int
    scope: str
    plan: Plan
    state: str
    began: float
    done: frozenset[str] = frozenset()
    errors: Mapping[str, str] = field(default_factory=dict)


class Journal:
    """A file of plans. Safe for many threads and processes; a record is durable when its method returns."""

    def __init__(self, path: str) -> None:
        self._database = Database(path, _MIGRATIONS)

    def begin(self, plan: Plan, *, scope: str = "") -> int:
        """Write `plan` down and return its number; an open one with the same content is joined.

        Within a named `scope` one plan is open at a time: another that is still open there is superseded,
        since the new one was made from what it left.
        """
        digest, now = plan.digest, time.time()
        with self._database.transaction() as connection:
            row = connection.execute(
                "SELECT id FROM plans WHERE state = 'open' AND scope = ? AND digest = ?", (scope, digest)
            ).fetchone()
            if row is not None:
                return int(row["id"])
            if scope:
                connection.execute(
                    "UPDATE plans SET state = 'superseded', ended = ? WHERE state = 'open' AND scope = ?",
                    (now, scope),
                )
            cursor = connection.execute(
                "INSERT INTO plans (scope, digest, body, state, began) VALUES (?, ?, ?, 'open', ?)",
                (scope, digest, json.dumps(plan.as_json()), now),
            )
            _forget_old(connection.execute)
            assert cursor.lastrowid is not None
            return cursor.lastrowid

    def done(self, plan: int, step: str) -> None:
        """The step is done; it is not asked for again while the plan is open."""
        self._record(plan, step, "done", "")

    def failed(self, plan: int, step: str, error: str) -> None:
        """The step failed; whoever applies the plan again tries it again."""
        self._record(plan, step, "failed", error)

    def finish(self, plan: int) -> None:
        """Every step is done: the same plan begun again is a new one. Old ones are forgotten."""
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE plans SET state = 'finished', ended = ? WHERE id = ? AND state = 'open'",
                (time.time(), plan),
            )
            _forget_old(connection.execute)

    def abandon(self, plan: int) -> None:
        """Nobody will go on with it."""
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE plans SET state = 'superseded', ended = ? WHERE id = ? AND state = 'open'",
                (time.time(), plan),
            )

    def get(self, plan: int) -> Recorded:
        """Raises NotFound where it never was, or was forgotten."""
        found = self._select("WHERE id = ?", (plan,))
        if not found:
            raise NotFound(f"plan {plan}", "is not in the journal", hint="plan anew")
        return found[0]

    def open_plans(self) -> list[Recorded]:
        """What was begun and not finished, oldest first."""
        return self._select("WHERE state = 'open' ORDER BY id", ())

    def history(self) -> list[Recorded]:
        """Everything that is kept, newest first; at most limits.PLAN_HISTORY are not open."""
        return self._select("ORDER BY id DESC", ())

    def close(self) -> None:
        """Close this thread's connection."""
        self._database.close()

    def _record(self, plan: int, step: str, state: str, error: str) -> None:
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT INTO steps (plan, step, state, error, at)"
                " SELECT id, ?, ?, ?, ? FROM plans WHERE id = ?"
                " ON CONFLICT (plan, step) DO UPDATE SET state = excluded.state, error = excluded.error,"
                " at = excluded.at WHERE steps.state != 'done'",
                (step, state, error, time.time(), plan),
            )

    def _select(self, where: str, parameters: tuple[object, ...]) -> list[Recorded]:
        found = []
        for row in self._database.query(f"SELECT * FROM plans {where}", parameters):  # noqa: S608 (our words)
            steps = self._database.query("SELECT step, state, error FROM steps WHERE plan = ?", (row["id"],))
            try:
                plan = Plan.from_json(json.loads(row["body"]))
            except ValueError as error:
                raise Corrupt(f"plan {row['id']}", str(error), hint="plan anew") from error
            found.append(
                Recorded(
                    id=row["id"],
                    scope=row["scope"],
                    plan=plan,
                    state=row["state"],
                    began=row["began"],
                    done=frozenset(step["step"] for step in steps if step["state"] == "done"),
                    errors={step["step"]: step["error"] for step in steps if step["state"] == "failed"},
                )
            )
        return found


def _forget_old(execute: object) -> None:
    assert callable(execute)
    execute(
        "DELETE FROM plans WHERE state != 'open' AND id NOT IN"
        " (SELECT id FROM plans WHERE state != 'open' ORDER BY id DESC LIMIT ?)",
        (limits.PLAN_HISTORY,),
    )
