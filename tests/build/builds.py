"""Builds on a temporary node: a folder with a Containerfile, what came out, and what its root holds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from orlop.build.build import build
from orlop.build.model import Built, Options
from orlop.kit.config import Config
from orlop.kit.node import Node
from orlop.store.store import Store


@dataclass
class Heard:
    """A Report that remembers. `output` is every command's, in the order in which it came."""

    steps: list[str] = field(default_factory=list)
    cached_steps: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    data: bytearray = field(default_factory=bytearray)

    def step(self, step: str, text: str) -> None:
        self.steps.append(text)

    def cached(self, step: str, text: str) -> None:
        self.cached_steps.append(text)

    def output(self, step: str, data: bytes) -> None:
        self.data += data

    def note(self, text: str) -> None:
        self.notes.append(text)

    @property
    def text(self) -> str:
        return self.data.decode()


class Stored:
    """Base images are in the store, or nowhere."""

    def __init__(self, node: Node) -> None:
        self._store = Store(node)

    def base(self, name: str, platform: str) -> str:
        return self._store.image(name).id


class Bench:
    """A context folder and a node. `make(text)` writes the Containerfile and builds it."""

    def __init__(self, node: Node, folder: Path) -> None:
        self.node = node
        self.folder = folder
        self.heard = Heard()
        self.store = Store(node)
        folder.mkdir(parents=True, exist_ok=True)

    def write(self, files: Mapping[str, str]) -> None:
        for name, text in files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def make(self, text: str, **changes: Any) -> Built:
        remote = changes.pop("remote", None)
        self.write({"Containerfile": text})
        self.heard = Heard()
        options = replace(Options(context=str(self.folder)), **changes)
        config = Config.load(self.node)
        images = Stored(self.node)
        return build(self.node, config, options, images=images, report=self.heard, remote=remote)

    def config(self, built: Built) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.store.config_bytes(built.id))
        return found

    def files(self, built: Built, *, below: str = "") -> dict[str, str]:
        """What is in the image: files' texts by their paths, `/` behind folders, links as -> target."""
        with self.store.image_root(built.id) as root:
            return tree(Path(root) / below)

    def layer_names(self, built: Built, number: int = -1) -> list[str]:
        """The names in a layer's archive."""
        import tarfile

        layers = json.loads(self.store.manifest_bytes(built.id))["layers"]
        path = self.store.layout.blob(layers[number]["digest"])
        with tarfile.open(path) as archive:
            return sorted(archive.getnames())


def tree(top: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    for folder, folders, names in os.walk(top):
        for name in (*folders, *names):
            path = Path(folder, name)
            shown = str(path.relative_to(top))
            if path.is_symlink():
                found[shown] = f"-> {os.readlink(path)}"
            elif path.is_dir():
                found[shown + "/"] = ""
            elif path.is_file():
                found[shown] = path.read_bytes().decode(errors="replace")
            else:
                found[shown] = "special"
    return found


def command(node: Node, *arguments: str, **options: Any) -> subprocess.Popen[bytes]:
    """`orlop ...` on the node, started."""
    argv = [
        sys.executable,
        "-m",
        "orlop",
        "--root",
        node.root,
        "--state",
        node.state,
        "--config",
        node.config,
    ]
    return subprocess.Popen([*argv, *arguments], **options)
