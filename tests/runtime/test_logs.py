"""Reading, following and rotating logs in the CRI format."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import TextIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orlop.kit.errors import InvalidInput
from orlop.runtime import logs

_STAMP = "2026-11-21T13:00:{:02d}.123456789+00:00"


def line(number: int, text: str, *, stream: str = "stdout", tag: str = "F") -> str:
    return f"{_STAMP.format(number % 60)} {stream} {tag} {text}\n"


def texts(path: Path, **options: object) -> list[str]:
    return [record.data.decode() for record in logs.read(str(path), **options)]  # type: ignore[arg-type]


def test_rotated_files_are_read_oldest_first_and_parts_are_joined(tmp_path: Path) -> None:
    log = tmp_path / "log"
    (tmp_path / "log.2").write_text(line(1, "a"))
    (tmp_path / "log.1").write_text(line(2, "b1", tag="P") + line(2, "e", stream="stderr"))
    log.write_text(line(3, "b2") + line(4, "c"))
    (tmp_path / "log.old").write_text("not a part")
    records = list(logs.read(str(log)))
    assert [(r.stream, r.data) for r in records] == [
        ("stdout", b"a"),
        ("stderr", b"e"),
        ("stdout", b"b1b2"),
        ("stdout", b"c"),
    ]
    assert records[0].stamp.endswith("123456789+00:00")


def test_an_absent_log_is_empty_and_an_unfinished_line_comes_last(tmp_path: Path) -> None:
    assert texts(tmp_path / "log") == []
    (tmp_path / "log").write_text(line(1, "a", tag="P") + "2026-11")
    records = list(logs.read(str(tmp_path / "log")))
    assert [(r.data, r.partial) for r in records] == [(b"a", True)]


@given(
    st.lists(st.tuples(st.integers(0, 70_000), st.booleans()), max_size=12),
    st.integers(0, 14),
    st.integers(1, 5),
)
def test_the_tail_is_the_end_of_the_whole(
    tmp_path_factory: pytest.TempPathFactory, lines: list[tuple[int, bool]], count: int, files: int
) -> None:
    folder = tmp_path_factory.mktemp("tail")
    whole = [
        (line(0, "p", tag="P") if parted else "") + line(0, str(index) * size)
        for index, (size, parted) in enumerate(lines)
    ]
    for number in range(files):
        part = whole[len(whole) * (files - 1 - number) // files : len(whole) * (files - number) // files]
        (folder / ("log" if number == 0 else f"log.{number}")).write_text("".join(part))
    everything = texts(folder / "log")
    assert len(everything) == len(lines)
    assert texts(folder / "log", tail=count) == (everything[-count:] if count else [])


def test_since_leaves_earlier_records_out(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("".join(line(n, str(n)) for n in range(10)))
    moment = logs.parse(line(5, "x").encode()).time
    assert texts(tmp_path / "log", since=moment) == ["5", "6", "7", "8", "9"]


def test_following_goes_through_rotations_to_the_end(tmp_path: Path) -> None:
    log, ended = tmp_path / "log", threading.Event()
    log.write_text(line(0, "0"))

    def write() -> None:
        stream = log.open("a")
        for number in range(1, 200):
            stream.write(line(0, str(number)))
            stream.flush()
            if number % 20 == 0:
                before = stream

                def reopen(before: TextIO = before) -> None:
                    nonlocal stream
                    before.write(line(0, "late"))  # renamed already, not yet reopened
                    before.flush()
                    stream = log.open("a")

                logs.rotate(str(log), 100, reopen=reopen)
                before.close()
            time.sleep(0.001)
        stream.close()
        ended.set()

    writer = threading.Thread(target=write)
    writer.start()
    found = texts(log, follow=True, ended=ended.is_set)
    writer.join()
    assert [text for text in found if text != "late"] == [str(number) for number in range(200)]
    assert found.count("late") == 9


def test_rotation_keeps_so_many_files_and_goes_on_after_a_crash(tmp_path: Path) -> None:
    log = tmp_path / "log"
    for number in range(6):
        log.write_text(line(0, str(number)))
        logs.rotate(str(log), 3, reopen=log.touch)
    assert sorted(os.listdir(tmp_path)) == ["log", "log.1", "log.2"]
    log.unlink()  # the crash: renamed, and not yet reopened
    logs.rotate(str(log), 3, reopen=log.touch)
    assert texts(log) == ["4", "5"]
    logs.rotate(str(log), 1, reopen=log.touch)
    assert os.listdir(tmp_path) == ["log"]
    logs.remove(str(log))
    assert os.listdir(tmp_path) == []


def test_a_log_that_is_no_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "log").symlink_to("/etc/passwd")
    with pytest.raises(InvalidInput):
        texts(tmp_path / "log")
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(InvalidInput):
        texts(tmp_path / "fifo")


@given(st.binary(max_size=200))
def test_anything_can_stand_in_a_log(data: bytes) -> None:
    record = logs.parse(data)
    assert record.stream in ("stdout", "stderr")
