"""The one way to open SQLite here: WAL, durable commits, many processes at once, schema versions.

A commit is durable when `transaction` returns (synchronous=FULL: one fdatasync of the write-ahead log,
0.2 ms on the machine that docs/benchmarks.md describes). A kill -9 or a power cut leaves the last commit.
What a reboot makes untrue anyway need not wait for the disk (`durable=False`): a power cut may take such
commits back, the last ones first and whole; a kill -9 never does. The next durable commit makes them durable.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence

from orlop.kit import limits
from orlop.kit.errors import Corrupt, Denied, Unavailable, Unsupported


class Database:
    """A file of tables. Safe for many threads (a connection each) and many processes.

    `migrations` are SQL scripts; the file's `user_version` says how many of them it has had. A file from a
    newer Orlop is refused, never guessed at.
    """

    def __init__(self, path: str, migrations: Sequence[str]) -> None:
        self.path = path
        self._migrations = migrations
        self._local = threading.local()
        try:
            os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        except OSError as error:
            if isinstance(error, PermissionError):
                raise _denied(path) from error
            raise Unavailable(
                path,
                f"its folder cannot be made: {error.strerror}",
                hint="run as root, or choose another --root",
            ) from error
        with self._explained():
            self._migrate(self._connection())

    @contextlib.contextmanager
    def transaction(self, *, durable: bool = True) -> Iterator[sqlite3.Connection]:
        """A write transaction: all of the block or nothing. Blocks while another process writes.

        Raises Unavailable when the others take longer than limits.DATABASE_BUSY seconds.
        """
        connection = self._connection()
        with self._explained():
            connection.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:  # SQLite itself rolls back where the disk is full
                    connection.execute("ROLLBACK")
                raise

    def query(self, sql: str, parameters: Sequence[object] = ()) -> list[sqlite3.Row]:
        """All rows of a SELECT, as of one instant."""
        with self._explained():
            return self._connection().execute(sql, parameters).fetchall()

    def watch(self) -> Watch:
        """Who asks again and again may ask first whether anything was committed since."""
        with self._explained():
            return Watch(self._connect())

    def close(self) -> None:
        """Close this thread's connection; it is opened anew when needed."""
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is not None:
            connection.close()
            self._local.connection = None

    def _connection(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = self._connect()
        return connection

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self.path, timeout=limits.DATABASE_BUSY, isolation_level=None, check_same_thread=False
        )
        connection.row_factory = sqlite3.Row
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA foreign_keys=ON")
        return connection

    def _migrate(self, connection: sqlite3.Connection) -> None:
        wanted = len(self._migrations)
        if _version(connection) == wanted:
            return
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("BEGIN IMMEDIATE")
        try:
            found = _version(connection)  # another process may have been first
            if found > wanted:
                raise Unsupported(
                    self.path,
                    f"was written by a newer Orlop (schema {found}, this one knows {wanted})",
                    hint="use that Orlop, or another --root",
                )
            for number, script in enumerate(self._migrations[found:], start=found + 1):
                for statement in filter(str.strip, script.split(";")):
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version={number}")
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            if not _may_write(self.path):
                raise _denied(self.path) from error
            raise Unavailable(
                self.path,
                str(error),
                hint="see that the disk has room and the file is readable, then try again",
            ) from error
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.IntegrityError):
                raise
            raise Corrupt(
                self.path, str(error), hint="restore it from a backup, or use another --root"
            ) from error


class Watch:
    """A connection of its own that only looks. Safe for many threads."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._lock = threading.Lock()

    def version(self) -> int:
        """Another number than last time where any process, ours too, has committed something meanwhile."""
        with self._lock:
            return int(self._connection.execute("PRAGMA data_version").fetchone()[0])


def _may_write(path: str) -> bool:
    """False for another's file or folder, and on a read-only file system."""
    folder = os.path.dirname(path)
    return os.access(folder, os.W_OK | os.X_OK) and (os.access(path, os.W_OK) or not os.path.exists(path))


def _denied(path: str) -> Denied:
    if os.geteuid() != 0:
        return Denied(path, "belongs to another user", hint="run it as root, or choose another --root")
    return Denied(
        path, "cannot be written here", hint="see how its file system is mounted: findmnt -T " + path
    )


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])
