from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from orlop.system.volumes.atomic_folder import write_folder
from orlop.system.volumes.payload import File


def files(**entries: str) -> dict[str, File]:
    return {path: File(path, data.encode(), 0o644) for path, data in entries.items()}


def held(folder: Path) -> dict[str, str]:
    """What a program in the pod sees."""
    return {
        str(path.relative_to(folder)): path.read_text()
        for name in sorted(os.listdir(folder))
        if not name.startswith("..")
        for path in ([folder / name] if (folder / name).is_file() else sorted((folder / name).rglob("*")))
        if path.is_file()
    }


def test_files_stand_behind_links_as_programs_for_kubernetes_expect(tmp_path: Path) -> None:
    assert write_folder(str(tmp_path), files(a="1"))
    assert os.readlink(tmp_path / "a") == "..data/a"
    assert os.readlink(tmp_path / "..data").startswith("..")
    assert held(tmp_path) == {"a": "1"}


def test_the_same_again_changes_nothing(tmp_path: Path) -> None:
    write_folder(str(tmp_path), files(a="1"))
    before = os.readlink(tmp_path / "..data")
    assert not write_folder(str(tmp_path), files(a="1"))
    assert os.readlink(tmp_path / "..data") == before


def test_a_change_leaves_no_older_version_and_no_dangling_link(tmp_path: Path) -> None:
    write_folder(str(tmp_path), {**files(a="1", b="2"), "d/e": File("d/e", b"3", 0o600)})
    assert write_folder(str(tmp_path), files(b="4", c="5"))
    assert held(tmp_path) == {"b": "4", "c": "5"}
    assert len(os.listdir(tmp_path)) == 4  # b, c, ..data and its version


def test_modes_and_sub_folders_are_as_asked(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        write_folder(str(tmp_path), {"d/e/f": File("d/e/f", b"x", 0o440)})
    finally:
        os.umask(before)
    assert (tmp_path / "d/e/f").stat().st_mode & 0o7777 == 0o440
    assert (tmp_path / "d/e").stat().st_mode & 0o7777 == 0o755


def test_nothing_is_a_folder_too(tmp_path: Path) -> None:
    assert write_folder(str(tmp_path), {})
    assert held(tmp_path) == {}
    assert not write_folder(str(tmp_path), {})


def test_what_a_crash_left_is_finished(tmp_path: Path) -> None:
    write_folder(str(tmp_path), files(a="1"))
    (tmp_path / "..half").mkdir()
    (tmp_path / "..half/a").write_text("junk")
    os.symlink("..half", tmp_path / "..data_tmp")
    os.unlink(tmp_path / "a")
    assert not write_folder(str(tmp_path), files(a="1"))
    assert held(tmp_path) == {"a": "1"}
    assert not (tmp_path / "..half").exists()


def test_a_reader_sees_all_of_one_version(tmp_path: Path) -> None:
    write_folder(str(tmp_path), files(a="0", b="0"))
    wrong: list[str] = []
    done = threading.Event()

    def reader() -> None:
        while not done.is_set():
            try:
                descriptor = os.open(tmp_path / "..data", os.O_PATH | os.O_DIRECTORY)
            except FileNotFoundError:
                continue  # the version went between following the link and opening it
            try:
                one, two = (_read(name, descriptor) for name in ("a", "b"))
                if one != two:
                    wrong.append(f"{one} and {two}")
            except FileNotFoundError:
                pass  # the version was taken away after it was replaced: a reader opens anew
            finally:
                os.close(descriptor)

    thread = threading.Thread(target=reader)
    thread.start()
    for number in range(1, 100):
        write_folder(str(tmp_path), files(a=str(number), b=str(number)))
    done.set()
    thread.join()
    assert wrong == []


def _read(name: str, folder: int) -> str:
    descriptor = os.open(name, os.O_RDONLY, dir_fd=folder)
    with open(descriptor) as stream:
        return stream.read()


@pytest.mark.host
def test_the_group_of_the_pod_may_read(tmp_path: Path) -> None:
    write_folder(str(tmp_path), {"a": File("a", b"x", 0o400)}, group=1234)
    status = (tmp_path / "a").stat()
    assert (status.st_gid, status.st_mode & 0o7777) == (1234, 0o440)
    assert not write_folder(str(tmp_path), {"a": File("a", b"x", 0o400)}, group=1234)
