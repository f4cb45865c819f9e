"""Small folders, contexts and copies for the tests of this folder."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path

from orlop.build.add.copy import Target, copy
from orlop.build.add.remote import Fetched
from orlop.build.containerfile.model import Add, Copy
from orlop.build.containerfile.parse import parse
from orlop.build.context.ignore import Ignore
from orlop.build.context.tree import Tree


def make(folder: Path, files: Mapping[str, str | bytes | None]) -> Path:
    """Files by their paths; None is a folder, "-> x" a link to x, "! 755 text" has that mode."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if content is None:
            path.mkdir(exist_ok=True)
        elif isinstance(content, bytes):
            path.write_bytes(content)
        elif content.startswith("-> "):
            path.symlink_to(content[3:])
        elif content.startswith("! "):
            _, mode, text = content.split(" ", 2)
            path.write_text(text)
            path.chmod(int(mode, 8))
        else:
            path.write_text(content)
    return folder


def seen(folder: Path) -> dict[str, str]:
    """Every path below with its content: "/" for folders, "-> x" for links."""
    found = {}
    for above, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(above) / name
            key = str(path.relative_to(folder))
            mode = path.lstat().st_mode
            if stat.S_ISLNK(mode):
                found[key] = f"-> {path.readlink()}"
            elif stat.S_ISDIR(mode):
                found[key] = "/"
            else:
                found[key] = path.read_bytes().decode(errors="replace")
    return found


def instruction(text: str) -> Copy | Add:
    found = parse(b"FROM scratch\n" + text.encode() + b"\n", "Containerfile").stages[0].instructions[0]
    assert isinstance(found, Copy | Add)
    return found


class Place:
    """A context and a root file system below `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.context = make(folder / "context", {})
        self.root = make(folder / "root", {})
        self.scratch = make(folder / "scratch", {})
        self.outside = make(folder / "outside", {"secret": "secret"})

    def run(
        self,
        text: str,
        *,
        ignore: list[str] | None = None,
        owners: bool = False,
        epoch: int | None = None,
        workdir: str = "/",
        fetched: tuple[Fetched, ...] = (),
    ) -> int:
        """One COPY or ADD from the context to the root."""
        patterns = Ignore(ignore) if ignore is not None else None
        with Tree(str(self.context), "the context", ignore=patterns, owners=owners) as tree:
            target = Target(str(self.root), str(self.root), workdir=workdir, epoch=epoch)
            return copy(instruction(text), tree, target, scratch=str(self.scratch), fetched=fetched)
