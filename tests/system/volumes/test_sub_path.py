from __future__ import annotations

import contextlib
import os
from pathlib import Path

import pytest

from orlop.kit.errors import InvalidInput
from orlop.system.volumes.sub_path import make_sub_path


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    made = tmp_path / "volume"
    made.mkdir()
    made.chmod(0o770)
    (tmp_path / "secret").mkdir()
    return made


def test_a_missing_path_becomes_folders_like_the_volume(volume: Path) -> None:
    make_sub_path(str(volume), "a/b//./c")
    assert (volume / "a/b/c").stat().st_mode & 0o7777 == 0o770
    make_sub_path(str(volume), "a/b/c")


def test_what_is_there_stays(volume: Path) -> None:
    (volume / "file").write_text("x")
    make_sub_path(str(volume), "file")
    assert (volume / "file").read_text() == "x"


def test_a_link_inside_is_followed(volume: Path) -> None:
    (volume / "real").mkdir()
    (volume / "link").symlink_to("real")
    make_sub_path(str(volume), "link/deeper")
    assert (volume / "real/deeper").is_dir()


@pytest.mark.parametrize("target", ["../secret", "/", "/proc/self/root"])
def test_a_link_that_leads_out_makes_nothing_outside(volume: Path, target: str) -> None:
    (volume / "link").symlink_to(target)
    before = set(os.listdir("/")) | set(os.listdir(volume.parent / "secret"))
    with contextlib.suppress(InvalidInput):
        make_sub_path(str(volume), "link/planted")
    assert set(os.listdir("/")) | set(os.listdir(volume.parent / "secret")) == before


@pytest.mark.parametrize("path", ["../x", "a/../../x", "file/below"])
def test_what_does_not_stay_below_is_refused(volume: Path, path: str) -> None:
    (volume / "file").write_text("x")
    with pytest.raises(InvalidInput):
        make_sub_path(str(volume), path)
    assert not (volume.parent / "x").exists()


def test_a_dangling_link_is_refused(volume: Path) -> None:
    (volume / "link").symlink_to("nowhere")
    with pytest.raises(InvalidInput):
        make_sub_path(str(volume), "link")
