from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from orlop.system.volumes.ownership import give_to_group

pytestmark = pytest.mark.host


def owner(path: Path) -> tuple[int, int]:
    status = path.lstat()
    return status.st_gid, stat.S_IMODE(status.st_mode)


def test_all_of_a_volume_becomes_the_groups(tmp_path: Path) -> None:
    volume, outside = tmp_path / "volume", tmp_path / "outside"
    (volume / "d/e").mkdir(parents=True)
    (volume / "d/f").write_text("x")
    outside.write_text("x")
    for path, mode in ((volume, 0o700), (volume / "d", 0o755), (volume / "d/f", 0o600), (outside, 0o600)):
        path.chmod(mode)
    (volume / "link").symlink_to(outside)
    give_to_group(str(volume), 4321, only_on_mismatch=False)
    assert owner(volume) == (4321, 0o2770)
    assert owner(volume / "d") == (4321, 0o2775)
    assert owner(volume / "d/f") == (4321, 0o660)
    assert (volume / "link").lstat().st_gid == 4321
    assert owner(outside) == (0, 0o600)


def test_on_root_mismatch_leaves_a_volume_that_is_right(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("x")
    give_to_group(str(tmp_path), 4321, only_on_mismatch=True)
    assert (tmp_path / "f").stat().st_gid == 4321
    os.chown(tmp_path / "f", 0, 0)
    give_to_group(str(tmp_path), 4321, only_on_mismatch=True)
    assert (tmp_path / "f").stat().st_gid == 0
    give_to_group(str(tmp_path), 4321, only_on_mismatch=False)
    assert (tmp_path / "f").stat().st_gid == 4321
