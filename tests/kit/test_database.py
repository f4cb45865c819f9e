"""SQLite as Orlop opens it: many processes, migrations, kill -9."""

from __future__ import annotations

import os
import random
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from orlop.kit.database import Database
from orlop.kit.errors import Conflict, Corrupt, Unavailable, Unsupported

ONE = "CREATE TABLE pairs (a INTEGER PRIMARY KEY, b INTEGER NOT NULL UNIQUE); CREATE INDEX i ON pairs (b)"
TWO = "ALTER TABLE pairs ADD COLUMN c TEXT NOT NULL DEFAULT 'x'"


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "folder" / "it.db")


def count(database: Database) -> int:
    return int(database.query("SELECT count(*) AS n FROM pairs")[0]["n"])


def test_a_transaction_is_all_or_nothing(path: str) -> None:
    database = Database(path, [ONE])
    with database.transaction() as connection:
        connection.execute("INSERT INTO pairs VALUES (1, 1)")
    with pytest.raises(Conflict), database.transaction() as connection:
        connection.execute("INSERT INTO pairs VALUES (2, 2)")
        raise Conflict("it", "went wrong", hint="-")
    with pytest.raises(sqlite3.IntegrityError), database.transaction() as connection:
        connection.execute("INSERT INTO pairs VALUES (3, 1)")
    assert count(database) == 1
    assert not [name for name in os.listdir(os.path.dirname(path)) if not name.startswith("it.db")]


def test_only_a_durable_commit_waits_for_the_disk_and_others_see_both(path: str) -> None:
    database = Database(path, [ONE])
    for number, durable in enumerate((False, True, False)):
        with database.transaction(durable=durable) as connection:
            level = connection.execute("PRAGMA synchronous").fetchone()[0]
            assert level == (2 if durable else 1)  # FULL, or NORMAL: no sync at a commit of the log
            connection.execute("INSERT INTO pairs VALUES (?, ?)", (number, number))
        assert count(Database(path, [ONE])) == number + 1
    with database.transaction() as connection:
        assert connection.execute("PRAGMA synchronous").fetchone()[0] == 2, "durable unless said otherwise"


def test_an_error_of_the_caller_is_not_taken_for_the_databases(path: str) -> None:
    database = Database(path, [ONE])
    with pytest.raises(PermissionError), database.transaction():
        raise PermissionError(13, "no")


def test_migrations_are_done_once_and_in_order(path: str) -> None:
    with Database(path, [ONE]).transaction() as connection:
        connection.execute("INSERT INTO pairs VALUES (1, 1)")
    for _ in range(2):
        assert Database(path, [ONE, TWO]).query("SELECT c FROM pairs")[0]["c"] == "x"


def test_a_failed_migration_leaves_the_old_schema(path: str) -> None:
    Database(path, [ONE]).close()
    with pytest.raises(Unavailable):
        Database(path, [ONE, "CREATE TABLE more (a INTEGER); THIS IS NOT SQL"])
    database = Database(path, [ONE])
    assert count(database) == 0
    assert not database.query("SELECT * FROM sqlite_master WHERE name = 'more'")


def test_a_newer_schema_is_refused(path: str) -> None:
    Database(path, [ONE, TWO]).close()
    with pytest.raises(Unsupported, match="newer Orlop"):
        Database(path, [ONE])


def test_a_file_that_is_no_database_is_named(path: str) -> None:
    os.makedirs(os.path.dirname(path))
    Path(path).write_bytes(b"this is something else, and long enough to be seen" * 10)
    with pytest.raises(Corrupt, match=r"it\.db"):
        Database(path, [ONE])


def test_a_place_that_cannot_hold_it_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Unavailable, match="folder cannot be made"):
        Database(str(tmp_path / "file" / "it.db"), [ONE])
    (tmp_path / "it.db").mkdir()
    with pytest.raises(Unavailable):
        Database(str(tmp_path / "it.db"), [ONE])


@pytest.mark.host  # becomes another user
def test_who_has_no_right_to_it_is_told_so(tmp_path: Path) -> None:
    path = tmp_path / "its" / "it.db"
    Database(str(path), [ONE]).close()
    path.parent.chmod(0o700)
    opening = (
        "import os; from orlop.kit.database import Database; from orlop.kit import errors\n"
        "os.setgroups([]); os.setresgid(65534, 65534, 65534); os.setresuid(65534, 65534, 65534)\n"
        f"Database({str(path)!r}, [{ONE!r}])"
    )
    for folder in (tmp_path, *tmp_path.parents):
        if "pytest" in folder.name:
            folder.chmod(0o755)
    done = subprocess.run(
        [sys.executable, "-c", opening],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Denied" in done.stderr
    assert "belongs to another user" in done.stderr


def test_each_thread_has_a_connection_and_closing_is_harmless(path: str) -> None:
    database = Database(path, [ONE])

    def insert(number: int) -> None:
        for step in range(20):
            with database.transaction() as connection:
                connection.execute(
                    "INSERT INTO pairs VALUES (?, ?)", (number * 100 + step, number * 100 + step)
                )
        database.close()
        database.close()

    threads = [threading.Thread(target=insert, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert count(database) == 80


_WRITER = """
import sys
from orlop.kit.database import Database
from tests.kit.test_database import ONE, TWO
start, number = int(sys.argv[2]), int(sys.argv[3])
database = Database(sys.argv[1], [ONE, TWO])
for step in range(start, start + number):
    with database.transaction() as connection:
        connection.execute("INSERT INTO pairs (a, b) VALUES (?, ?)", (2 * step, 2 * step))
        connection.execute("INSERT INTO pairs (a, b) VALUES (?, ?)", (2 * step + 1, 2 * step + 1))
    print(step, flush=True)
"""


def _writer(path: str, start: int, number: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", _WRITER, path, str(start), str(number)], stdout=subprocess.PIPE
    )


def test_many_processes_open_a_new_file_and_write_at_once(path: str) -> None:
    writers = [_writer(path, start * 1000, 15) for start in range(6)]
    for writer in writers:
        writer.communicate()
    assert [writer.returncode for writer in writers] == [0] * 6
    assert count(Database(path, [ONE, TWO])) == 6 * 15 * 2


def test_killed_at_any_point_nothing_acknowledged_is_lost_and_nothing_is_half_done(path: str) -> None:
    chance = random.Random(3)
    acknowledged: set[int] = set()
    for round_ in range(8):
        writer = _writer(path, round_ * 100_000, 100_000)
        assert writer.stdout is not None
        acknowledged.add(int(writer.stdout.readline()))
        time.sleep(chance.uniform(0, 0.03))
        writer.kill()
        lines = writer.communicate()[0].split(b"\n")[:-1]
        acknowledged.update(int(line) for line in lines)
    database = Database(path, [ONE, TWO])
    found = {int(row["a"]) for row in database.query("SELECT a FROM pairs")}
    assert {2 * step for step in acknowledged} <= found
    assert all(number ^ 1 in found for number in found)
    assert database.query("PRAGMA integrity_check")[0][0] == "ok"
