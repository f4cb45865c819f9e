from __future__ import annotations

import socket
from pathlib import Path

import pytest

from orlop.kit.errors import InvalidInput, NotFound
from orlop.system.kube.volume_model import HostPath
from orlop.system.volumes.host_path import ensure_host_path


def ensured(path: Path | str, kind: str = "") -> str:
    return ensure_host_path("volume v", HostPath(path=str(path), type=kind))  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["", "DirectoryOrCreate"])
def test_a_folder_is_made_with_those_above_it(tmp_path: Path, kind: str) -> None:
    assert ensured(tmp_path / "a/b", kind) == str(tmp_path / "a/b")
    assert (tmp_path / "a/b").stat().st_mode & 0o777 == 0o755
    ensured(tmp_path / "a/b", kind)


def test_a_file_is_made_empty_and_kept(tmp_path: Path) -> None:
    ensured(tmp_path / "f", "FileOrCreate")
    (tmp_path / "f").write_text("x")
    ensured(tmp_path / "f", "FileOrCreate")
    assert (tmp_path / "f").read_text() == "x"
    with pytest.raises(NotFound, match="there is no folder"):
        ensured(tmp_path / "absent/f", "FileOrCreate")


@pytest.mark.parametrize("kind", ["Directory", "File", "Socket", "CharDevice", "BlockDevice"])
def test_what_is_not_to_be_made_must_exist(tmp_path: Path, kind: str) -> None:
    with pytest.raises(NotFound, match="there is no"):
        ensured(tmp_path / "absent", kind)


def test_the_type_is_checked(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("x")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        ensured(tmp_path / "s", "Socket")
    ensured("/dev/null", "CharDevice")
    ensured(tmp_path / "f")
    for path, kind in (("f", "Directory"), ("f", "DirectoryOrCreate"), ("s", "File"), ("f", "CharDevice")):
        with pytest.raises(InvalidInput, match="is not a"):
            ensured(tmp_path / path, kind)
