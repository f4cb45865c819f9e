"""What lazy pulling could bring at most: a command from the parts that it opens, and from a whole pull."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import urllib3
from isal import igzip

from bench.lazy import estargz
from bench.lazy.link import link
from bench.lazy.touched import touched
from bench.peers import CACHE
from bench.run import orlop_env
from orlop.kit import kernel, process
from tests.support import images
from tests.support.registry import registry

_ORLOP = os.path.join(os.path.dirname(sys.executable), "orlop")
_GAP = 64 << 10  # bytes between two parts that are worth fetching to save a request
#: Bytes a second and seconds of delay: an office's line, and a data centre's.
LINKS = {"100 Mbit/s, 20 ms": (12.5e6, 0.02), "1 Gbit/s, 2 ms": (125e6, 0.002)}
COMMANDS: dict[str, Sequence[str]] = {
    "bash": ["bash", "-c", "true"],
    "python3 with json, ssl, sqlite3": ["python3", "-c", "import json, ssl, sqlite3"],
    "gcc --version": ["gcc", "--version"],
}


@dataclass(frozen=True)
class Found:
    """Of one command over one link. Seconds; bytes as they came over the link."""

    link: str
    command: str
    lazy_seconds: float
    lazy_bytes: int
    requests: int
    whole_seconds: float
    whole_bytes: int


@dataclass(frozen=True)
class _Layer:
    """The same layer twice at a registry: as an image to pull, and as an eStargz blob."""

    registry: str
    image: str
    blob: str
    size: int


def measure(folder: Path) -> list[str]:
    """The lines of a Markdown table, and what the packing costs."""
    folder.mkdir(parents=True)
    tar = _root()
    plain, lazily = igzip.compress(tar.read_bytes(), compresslevel=2), estargz.pack(tar)
    layer = images.Layer(tar.read_bytes())
    layer.__dict__["blob"] = plain
    found = []
    with registry() as running, _unpacked(tar, folder / "root") as root:
        name = images.push(running, "lazy:1", images.Image((layer,), {"Cmd": ["bash"]}))
        pushed = _Layer(
            running.address, name.partition("/")[2], _push_blob(running.address, lazily), len(lazily)
        )
        for command, argv in COMMANDS.items():
            with touched(root) as opened:
                _chrooted(root, argv)
            found += [_one(folder, pushed, opened, command, words) for words in LINKS]
    packing = (
        f"A root of {tar.stat().st_size / 1e6:.0f} MB, {len(plain) / 1e6:.1f} MB as gzip;"
        f" as eStargz {len(lazily) / 1e6:.1f} MB ({len(lazily) / len(plain):.2f})."
    )
    lines = [
        packing,
        "",
        "| link | command | parts: s | MB | requests | whole: s | MB | ratio |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    return lines + [
        f"| {row.link} | {row.command} | {row.lazy_seconds:.2f} | {row.lazy_bytes / 1e6:.1f} | {row.requests}"
        f" | {row.whole_seconds:.2f} | {row.whole_bytes / 1e6:.1f} |"
        f" {row.lazy_seconds / row.whole_seconds:.2f} |"
        for row in found
    ]


def _root() -> Path:
    """A Debian with python3 and gcc, made once for this machine."""
    target = CACHE / "lazy-root.tar"
    if not target.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        partial = target.with_suffix(".partial.tar")
        argv = [
            "mmdebstrap",
            "--variant=minbase",
            "--include=python3,gcc,libc6-dev",
            "--quiet",
            "--mode=root",
        ]
        process.run([*argv, "bookworm", str(partial)], timeout=900)
        partial.rename(target)
    return target


@contextlib.contextmanager
def _unpacked(tar: Path, folder: Path) -> Iterator[Path]:
    """The tar's files below `folder`, which is a mount point meanwhile."""
    folder.mkdir()
    kernel.mount("tmpfs", str(folder), "tmpfs")
    try:
        process.run(["tar", "-xf", str(tar), "-C", str(folder)], timeout=300)
        yield folder
    finally:
        kernel.umount(str(folder), kernel.MNT_DETACH)
        folder.rmdir()


def _chrooted(root: Path, argv: Sequence[str]) -> None:
    process.run(["chroot", str(root), *argv], env=process.MINIMAL_ENV)


def _push_blob(address: str, data: bytes) -> str:
    http = urllib3.PoolManager()
    digest = images.digest(data)
    begun = http.request("POST", f"http://{address}/v2/lazy/blobs/uploads/")
    place = begun.headers["Location"]
    done = http.request("PUT", f"{place}{'&' if '?' in place else '?'}digest={digest}", body=data)
    assert done.status == 201, done.data
    return digest


def _one(folder: Path, layer: _Layer, opened: set[str], command: str, words: str) -> Found:
    rate, delay = LINKS[words]
    with link(layer.registry, rate=rate, delay=delay) as slow:
        started = time.perf_counter()
        requests = _by_parts(slow.address, layer, opened, folder / "parts", COMMANDS[command])
        lazy, lazy_bytes = time.perf_counter() - started, slow.passed
    with link(layer.registry, rate=rate, delay=delay) as slow:
        env = orlop_env(folder / "orlop", slow.address)
        started = time.perf_counter()
        name = f"{slow.address}/{layer.image}"
        process.run([_ORLOP, "image", "pull", "--quiet", name], env=env, timeout=600)
        whole, whole_bytes = time.perf_counter() - started, slow.passed
        root = Path(process.run([_ORLOP, "image", "mount", name], env=env).text.strip())
        started = time.perf_counter()
        _chrooted(root, COMMANDS[command])
        whole += time.perf_counter() - started
        process.run([_ORLOP, "node", "down", "--purge"], env=env)
    return Found(words, command, lazy, lazy_bytes, requests, whole, whole_bytes)


def _by_parts(address: str, layer: _Layer, opened: set[str], folder: Path, argv: Sequence[str]) -> int:
    """Fetch the table, then what was opened; run the command; returns the number of requests."""
    http = urllib3.PoolManager()
    url = f"http://{address}/v2/lazy/blobs/{layer.blob}"

    def get(offset: int, length: int) -> bytes:
        answer = http.request("GET", url, headers={"Range": f"bytes={offset}-{offset + length - 1}"})
        assert answer.status == 206
        return answer.data

    start = estargz.table_start(get(*estargz.footer_of(layer.size)))
    entries = estargz.table(get(start, layer.size - start - 51), start)
    wanted = [
        (part, entry, number)
        for entry in entries
        if entry.kind == "reg" and entry.name.removeprefix("./") in opened
        for number, part in enumerate(entry.parts)
    ]
    root = folder
    root.mkdir()
    kernel.mount("tmpfs", str(root), "tmpfs")
    try:
        _skeleton(entries, root)
        requests = 2
        for run in _runs([part for part, _, _ in wanted]):
            data = get(run[0], run[1])
            requests += 1
            for (offset, length, digest), entry, number in wanted:
                if run[0] <= offset < run[0] + run[1]:
                    piece = estargz.content(data[offset - run[0] : offset - run[0] + length], digest)
                    path = root / entry.name
                    with open(path, "r+b") as stream:
                        stream.seek(number * (4 << 20))
                        stream.write(piece)
                    os.utime(path, (entry.mtime, entry.mtime))
        _chrooted(root, argv)
    finally:
        kernel.umount(str(root), kernel.MNT_DETACH)
        root.rmdir()
    return requests


def _skeleton(entries: Sequence[estargz.Entry], root: Path) -> None:
    """All names with sizes and times, as the table has them: a mount would show them without their bytes."""
    for entry in entries:
        path = root / entry.name
        if entry.kind == "dir":
            path.mkdir(parents=True, exist_ok=True)
        elif entry.kind == "symlink":
            path.symlink_to(entry.link)
        elif entry.kind == "reg":
            with open(path, "wb") as stream:
                stream.truncate(entry.size)
            path.chmod(entry.mode)
            os.utime(path, (entry.mtime, entry.mtime))
        elif entry.kind == "hardlink":
            path.hardlink_to(root / entry.link)


def _runs(parts: Sequence[tuple[int, int, str]]) -> list[tuple[int, int]]:
    """(offset, length) of requests that cover the parts."""
    runs: list[tuple[int, int]] = []
    for offset, length, _ in sorted(parts):
        if runs and offset - sum(runs[-1]) <= _GAP:
            runs[-1] = (runs[-1][0], offset + length - runs[-1][0])
        else:
            runs.append((offset, length))
    return runs
