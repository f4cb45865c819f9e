"""COPY and ADD against buildah's: the same instructions over the same context give the same tree."""

from __future__ import annotations

import os
import stat
import subprocess
import tarfile
from pathlib import Path

import pytest

from orlop.build.add.copy import Target, copy
from orlop.build.containerfile import model
from orlop.build.containerfile.parse import parse
from orlop.build.context.tree import Tree
from tests.build.trees import make

pytestmark = [pytest.mark.host, pytest.mark.timeout(300)]

_FILES = {
    "a": "one", "b": "two", "src/x": "! 751 x", "src/sub/y": "y", "src/link": "-> sub/y", "src/empty": None,
    "dirlink": "-> src", "filelink": "-> a", "w/one.txt": "1", "w/two.txt": "2",
}  # fmt: skip
_TEXT = """FROM scratch
COPY a /f1
COPY a /d1/
COPY a b /d2/
COPY src /d3
COPY src /d4/
COPY src/ /d5
COPY src/. /d6
COPY src src /d7/
COPY src a /d8/
COPY w/*.txt /d9/
COPY w/o*.txt /d10
COPY filelink /d11
COPY dirlink /d12
COPY filelink dirlink /d13/
COPY --chown=5:6 src /d14/n
COPY --chmod=640 src /d15
COPY a /d16/x/y/z
COPY --chown=7 a /d17/x/y
ADD ar.tgz /d18
ADD ar.tgz /d19/
COPY ar.tgz /d21/
COPY a /d1
COPY src/link /d26
COPY w* /d27
COPY ../a /d28
COPY /a /d29
COPY ["a", "b", "/d30/"]
COPY src /d1/../d31
COPY a d32/./
COPY b /d8/a
COPY w /d8
"""


def listing(root: Path) -> dict[str, tuple[object, ...]]:
    """Kind, mode, owner, content or target of all below; times of files in whole seconds."""
    found = {}
    for path in sorted(root.rglob("*")):
        status = path.lstat()
        mode, owner = stat.S_IMODE(status.st_mode), (status.st_uid, status.st_gid)
        if path.is_symlink():
            what: tuple[object, ...] = ("link", str(path.readlink()), owner)
        elif path.is_dir():
            what = ("folder", mode, owner)
        else:
            what = ("file", mode, owner, path.read_bytes(), round(status.st_mtime))
        found[str(path.relative_to(root))] = what
    return found


def test_the_same_tree_as_buildah(tmp_path: Path) -> None:
    context = make(tmp_path / "context", _FILES)
    (context / "src/sub").chmod(0o700)
    with tarfile.open(context / "ar.tgz", "w:gz") as archive:
        archive.add(context / "src", "src")
    for path in context.rglob("*"):
        os.utime(path, (1_700_000_000, 1_700_000_000), follow_symlinks=False)
    (context / "Containerfile").write_text(_TEXT)
    storage = ["--storage-driver", "vfs", "--root", f"{tmp_path}/s", "--runroot", f"{tmp_path}/r"]
    options = ["--isolation", "chroot", "--layers=false", "--output", f"type=local,dest={tmp_path}/theirs"]
    subprocess.run(["buildah", *storage, "bud", *options, str(context)], check=True, capture_output=True)

    ours = make(tmp_path / "ours", {})
    with Tree(str(context), "the context") as tree:
        for instruction in parse(_TEXT.encode(), "Containerfile").stages[0].instructions:
            assert isinstance(instruction, model.Copy | model.Add)
            copy(instruction, tree, Target(str(ours), str(ours)), scratch=str(tmp_path))
    mine, theirs = listing(ours), listing(tmp_path / "theirs")
    assert len(mine) > 100
    assert mine == theirs
