"""Importing a root file system of 1 GB as an image, against podman.

The archive lies on the disk as it does when somebody has just made it (in the page cache); plain and packed
with gzip. What was imported is removed outside the measured time. Orlop keeps the archive so that the image
can be pushed: within the layer's own file where layers are EROFS images, as a blob beside it elsewhere.
"""

from __future__ import annotations

import copy
import functools
import os
import sys
import tarfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, cast

from isal import igzip

from bench.measure import Sample, Timing, in_turns, sampled
from bench.peers import Podman, podman
from bench.run import orlop_env
from orlop.kit import process
from tests.support import images

_ORLOP = os.path.join(os.path.dirname(sys.executable), "orlop")
_REST = 0.5  # seconds that the disk has before each import
_SIZE = 1_000_000_000
_NAME = "localhost/imported:1"


def measure(folder: Path, *, rounds: int) -> dict[str, list[Timing]]:
    """Timings by archive ("plain", "gzip"), with the peak memory of each program."""
    folder.mkdir(parents=True)
    found = {}
    env = orlop_env(folder / "orlop", "127.0.0.1:1")
    with podman(folder / "podman", "127.0.0.1:1") as peer:
        for kind in ("plain", "gzip"):
            archive = folder / f"rootfs.{kind}"
            write_archive(archive, packed=kind == "gzip")
            candidates: dict[str, Callable[[], Sample]] = {
                "orlop": functools.partial(_orlop, env, archive),
                "podman": functools.partial(_podman, peer, archive),
            }
            found[f"Import: 1 GB, {kind}"] = in_turns(candidates, rounds=rounds)
            archive.unlink()
    process.run([_ORLOP, "node", "down", "--purge"], env=env)
    return found


def write_archive(path: Path, *, packed: bool) -> None:
    """Debian roots side by side until they have 1 GB."""
    with (
        _opened(path, packed=packed) as stream,
        tarfile.open(fileobj=stream, mode="w|") as target,
        tarfile.open(images.debian_tar()) as source,
    ):
        size = copies = 0
        while size < _SIZE:
            for member in source.getmembers():
                if member.isdev():
                    continue
                entry = copy.copy(member)
                entry.name = f"copy{copies}/{member.name.removeprefix('./')}".rstrip("/.")
                if member.islnk():
                    entry.linkname = f"copy{copies}/{member.linkname.removeprefix('./')}"
                target.addfile(entry, source.extractfile(member) if member.isreg() else None)
                size += member.size
                if size >= _SIZE:
                    break
            copies += 1


def _opened(path: Path, *, packed: bool) -> BinaryIO:
    if packed:
        made = igzip.IGzipFile(str(path), "wb", compresslevel=2)  # type: ignore[no-untyped-call]
        return cast(BinaryIO, made)
    return path.open("wb")


def _orlop(env: Mapping[str, str], archive: Path) -> Sample:
    taken = _rested([_ORLOP, "image", "import", "--quiet", str(archive), _NAME], env)
    process.run([_ORLOP, "image", "remove", _NAME], env=env)
    process.run([_ORLOP, "store", "prune"], env=env)
    return taken


def _podman(peer: Podman, archive: Path) -> Sample:
    taken = _rested(peer.argv("import", "--quiet", str(archive), _NAME), peer.env)
    peer.run("rmi", _NAME)
    return taken


def _rested(argv: Sequence[str], env: Mapping[str, str]) -> Sample:
    os.sync()
    time.sleep(_REST)
    return sampled(argv, env)
