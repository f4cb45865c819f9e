"""The image that pulls are measured with: five Debian roots side by side, in one layer or in eight.

About 800 MB unpacked in some 40 000 files, so both bytes and files weigh as they do in real images.
"""

from __future__ import annotations

import copy
import io
import tarfile
from collections.abc import Iterator

import zstandard
from isal import igzip

from bench.peers import CACHE
from tests.support import images

COPIES = 5
_END = bytes(1024)  # two blocks of zeros end an archive


def layers(count: int, compression: str = "gzip") -> tuple[images.Layer, ...]:
    """The image's content in `count` layers, packed with "gzip" or "zstd"."""
    each = max(1, round(count / COPIES))
    pieces = [piece for part in range(COPIES) for piece in _split(part, each)]
    pieces[count - 1 :] = [b"".join(pieces[count - 1 :])]
    return tuple(_packed(piece + _END, compression) for piece in pieces)


def _packed(tar: bytes, compression: str) -> images.Layer:
    """A layer packed once for this machine: level 2 of isa-l (about zlib's level 3), or zstd's level 3."""
    layer = images.Layer(tar, compression)
    cached = CACHE / "layers" / f"{layer.diff_id.removeprefix('sha256:')}.{compression}"
    if not cached.exists():
        cached.parent.mkdir(parents=True, exist_ok=True)
        partial = cached.with_suffix(".tmp")
        if compression == "zstd":
            partial.write_bytes(zstandard.ZstdCompressor(level=3).compress(tar))
        else:
            partial.write_bytes(igzip.compress(tar, compresslevel=2, mtime=0))
        partial.rename(cached)
    layer.__dict__["blob"] = cached.read_bytes()  # what cached_property would have made, slowly
    return layer


def _split(part: int, pieces: int) -> Iterator[bytes]:
    """The Debian root below `copy<part>/` in `pieces` tars of about the same size, without their end."""
    with tarfile.open(images.debian_tar()) as source:
        members = [member for member in source if not member.isdev()]
        share = sum(member.size + 512 for member in members) // pieces + 1
        buffer, target, used = _begin()
        for original in members:
            member = copy.copy(original)
            member.name = f"copy{part}/{original.name.removeprefix('./')}".rstrip("/.")
            if original.islnk():
                # A hard link cannot reach into another layer: carry the content again.
                linked = source.getmember(original.linkname)
                member.type, member.size = tarfile.REGTYPE, linked.size
            target.addfile(member, source.extractfile(original) if member.isreg() else None)
            used += member.size + 512
            if used > share:
                yield buffer.getvalue()
                buffer, target, used = _begin()
    yield buffer.getvalue()


def _begin() -> tuple[io.BytesIO, tarfile.TarFile, int]:
    buffer = io.BytesIO()
    return buffer, tarfile.open(fileobj=buffer, mode="w"), 0
