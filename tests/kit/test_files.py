"""Files that survive a crash, opens that stay inside, removals that stop at mounts."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from orlop.kit import files, kernel
from orlop.kit.errors import Conflict, Corrupt, LimitExceeded


@pytest.mark.parametrize("durable", [True, False])
def test_a_file_is_replaced_whole(tmp_path: Path, durable: bool) -> None:
    path = tmp_path / "file"
    for data in (b"one", b"", b"three" * 100_000):
        files.write_atomic(str(path), data, mode=0o600, durable=durable)
        assert path.read_bytes() == data
    assert path.stat().st_mode & 0o777 == 0o600
    assert os.listdir(tmp_path) == ["file"]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_text("old")

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space"):
        files.write_atomic(str(path), b"new")
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["file"]


_WRITER = """
import sys
from orlop.kit.files import write_atomic
print("ready", flush=True)
while True:
    for letter in b"ab":
        write_atomic(sys.argv[1], bytes([letter]) * 200_000, durable=False)
"""


def test_killed_at_any_point_a_writer_leaves_one_version_whole(tmp_path: Path) -> None:
    path = tmp_path / "file"
    files.write_atomic(str(path), b"a" * 200_000)
    for round_ in range(5):
        with subprocess.Popen([sys.executable, "-c", _WRITER, path], stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            writer.stdout.readline()
            threading.Event().wait(0.003 * round_)
            writer.kill()
        data = path.read_bytes()
        assert len(data) == 200_000 and len(set(data)) == 1


def test_a_file_longer_than_its_bound_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    assert files.read_bounded(str(path), 5) == b"12345"
    with pytest.raises(LimitExceeded, match="longer than 4 bytes"):
        files.read_bounded(str(path), 4)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root with links that try to leave it; beside it a secret."""
    (tmp_path / "secret").write_text("outside")
    inside = tmp_path / "root"
    (inside / "etc").mkdir(parents=True)
    (inside / "etc" / "passwd").write_text("inside")
    (inside / "secret").write_text("inside")
    (inside / "absolute").symlink_to("/etc/passwd")
    (inside / "up").symlink_to("../../../../../../../../etc/passwd")
    (inside / "beside").symlink_to("../secret")
    (inside / "loop").symlink_to("loop")
    (inside / "folder").symlink_to("/etc")
    return inside


@pytest.mark.parametrize(
    "path", ["absolute", "up", "beside", "/etc/passwd", "../secret", "folder/passwd", "etc/../../secret"]
)
def test_links_and_dots_stay_in_the_root(root: Path, path: str) -> None:
    with files.folder(str(root)) as descriptor:
        opened = files.open_in_root(descriptor, path, os.O_RDONLY)
        with os.fdopen(opened) as stream:
            assert stream.read() == "inside"


def test_a_link_to_itself_and_a_magic_link_are_refused(root: Path) -> None:
    with files.folder(str(root)) as descriptor, pytest.raises(Corrupt, match="leads out of its root"):
        files.open_in_root(descriptor, "loop", os.O_RDONLY)
    with files.folder("/proc") as descriptor, pytest.raises(Corrupt):
        files.open_in_root(descriptor, "self/root/etc", os.O_RDONLY)


def test_an_absent_file_is_told_as_open_does(root: Path) -> None:
    with files.folder(str(root)) as descriptor, pytest.raises(FileNotFoundError):
        files.open_in_root(descriptor, "absent", os.O_RDONLY)


def test_a_file_can_be_made_in_a_root(root: Path) -> None:
    with files.folder(str(root)) as descriptor:
        os.close(files.open_in_root(descriptor, "folder/new", os.O_CREAT | os.O_WRONLY, mode=0o600))
    assert (root / "etc" / "new").exists()


def test_everything_is_removed_and_asked_twice_is_harmless(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    deep = tree.joinpath(*["d"] * 200)
    deep.mkdir(parents=True)
    (deep / "file").write_text("x")
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").write_text("x")
    (tree / "out").symlink_to(tmp_path / "kept")
    os.mkfifo(tree / "fifo")
    (tree / "readonly").mkdir(mode=0o500)
    for _ in range(2):
        files.remove_tree(f"{tree}/")
        assert not tree.exists()
    assert (tmp_path / "kept" / "file").exists()
    files.remove_tree(str(tmp_path / "no" / "such" / "folder"))


@pytest.mark.parametrize("kind", ["file", "link", "dangling"])
def test_a_file_or_a_link_is_removed_itself(tmp_path: Path, kind: str) -> None:
    (tmp_path / "kept").mkdir()
    path = tmp_path / "it"
    if kind == "file":
        path.write_text("x")
    else:
        path.symlink_to("kept" if kind == "link" else "nowhere")
    files.remove_tree(str(path))
    assert not os.path.lexists(path) and (tmp_path / "kept").exists()


@pytest.mark.host
@pytest.mark.parametrize("at", ["tree", "tree/below"])
def test_a_removal_stops_at_a_mount_and_spares_what_is_behind_it(tmp_path: Path, at: str) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "precious").write_text("x")
    (tmp_path / "tree" / "below").mkdir(parents=True)
    target = str(tmp_path / at)
    kernel.mount(str(tmp_path / "data"), target, flags=kernel.MS_BIND)  # of the same device
    try:
        with pytest.raises(Conflict, match="mounted below it"):
            files.remove_tree(str(tmp_path / "tree"))
        assert (tmp_path / "data" / "precious").exists()
    finally:
        kernel.umount(target)
    files.remove_tree(str(tmp_path / "tree"))
    assert not (tmp_path / "tree").exists()


def test_two_removals_at_once_do_not_disturb_each_other(tmp_path: Path) -> None:
    failures: list[BaseException] = []

    def remove() -> None:
        try:
            files.remove_tree(str(tmp_path / "tree"))
        except BaseException as error:
            failures.append(error)

    for number in range(300):
        (tmp_path / "tree" / str(number % 20)).mkdir(parents=True, exist_ok=True)
        (tmp_path / "tree" / str(number % 20) / str(number)).touch()
    threads = [threading.Thread(target=remove) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures and not (tmp_path / "tree").exists()


def test_what_killed_writers_left_goes_once_it_is_old(tmp_path: Path) -> None:
    files.write_atomic(str(tmp_path / "kept"), b"whole")
    for name in ("kept.0123456789abcdef.tmp", "fresh.0123456789abcdef.tmp"):
        (tmp_path / name).write_bytes(b"ha")
    os.utime(tmp_path / "kept.0123456789abcdef.tmp", (0, 0))
    assert files.remove_partial(str(tmp_path), 60.0) == 1
    assert sorted(os.listdir(tmp_path)) == ["fresh.0123456789abcdef.tmp", "kept"]
    assert files.remove_partial(str(tmp_path / "absent"), 60.0) == 0
