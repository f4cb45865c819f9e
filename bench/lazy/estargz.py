"""eStargz, written and read in parts: each file is gzip members of its own, and a table says where.

The format: a layer that any gzip reader unpacks; its last member but one is the tar entry `stargz.index.json`
(the table of contents), its last 51 bytes are an empty member whose extra field says where that begins.
"""

from __future__ import annotations

import hashlib
import io
import json
import struct
import tarfile
import zlib
from dataclasses import dataclass, replace
from pathlib import Path

from isal import isal_zlib

_CHUNK = 4 << 20
_FOOTER = 51
_LEVEL = 2
_TABLE = "stargz.index.json"


@dataclass(frozen=True)
class Entry:
    """One name of the table. `parts`: (offset in the blob, packed length, SHA-256 of the content)."""

    name: str
    kind: str
    mode: int
    size: int
    link: str
    mtime: int
    parts: tuple[tuple[int, int, str], ...] = ()


def pack(source: Path) -> bytes:
    """The tar file as eStargz."""
    out = bytearray()
    table: list[dict[str, object]] = []
    with tarfile.open(source) as archive:
        for member in archive:
            entry: dict[str, object] = {
                "name": member.name,
                "type": _kind(member),
                "mode": member.mode,
                "size": member.size,
                "linkName": member.linkname,
                "modtime": int(member.mtime),
                "offset": len(out),
            }
            content = archive.extractfile(member) if member.isreg() else None
            data = content.read() if content else b""
            header = member.tobuf(tarfile.PAX_FORMAT)
            pieces = [data[at : at + _CHUNK] for at in range(0, len(data), _CHUNK)] or [b""]
            out += _member(header)  # a member of its own, so that a chunk inflates to content alone
            for number, piece in enumerate(pieces):
                chunk = {
                    "offset": len(out),
                    "chunkDigest": "sha256:" + hashlib.sha256(piece).hexdigest(),
                    "chunkOffset": number * _CHUNK,
                    "chunkSize": len(piece),
                }
                table.append(
                    {**entry, **chunk} if number == 0 else {"name": member.name, "type": "chunk"} | chunk
                )
                padding = -len(data) % 512 if number == len(pieces) - 1 else 0
                out += _member(piece) + (_member(bytes(padding)) if padding else b"")
    start = len(out)
    text = json.dumps({"version": 1, "entries": table}).encode()
    info = tarfile.TarInfo(_TABLE)
    info.size = len(text)
    out += _member(info.tobuf(tarfile.PAX_FORMAT) + text + bytes(-len(text) % 512) + bytes(1024))
    return bytes(out + _footer(start))


def _kind(member: tarfile.TarInfo) -> str:
    if member.isdir():
        return "dir"
    if member.issym():
        return "symlink"
    if member.islnk():
        return "hardlink"
    return "reg" if member.isreg() else "char"


def _member(data: bytes) -> bytes:
    packer = isal_zlib.compressobj(_LEVEL, isal_zlib.DEFLATED, 31)
    return bytes(packer.compress(data) + packer.flush())


def _footer(start: int) -> bytes:
    word = f"{start:016x}STARGZ".encode()
    extra = b"SG" + struct.pack("<H", len(word)) + word
    head = b"\x1f\x8b\x08\x04" + bytes(4) + b"\x00\xff" + struct.pack("<H", len(extra)) + extra
    return head + b"\x01\x00\x00\xff\xff" + bytes(8)


def table_start(footer: bytes) -> int:
    """Where the table's member begins, from the last 51 bytes of a blob."""
    assert len(footer) == _FOOTER
    assert footer[32:38] == b"STARGZ"
    return int(footer[16:32], 16)


def table(packed: bytes, start: int) -> list[Entry]:
    """The names of a layer from its table's member (which begins at `start` in the blob)."""
    raw = zlib.decompressobj(31).decompress(packed)
    with tarfile.open(fileobj=io.BytesIO(raw)) as archive:
        content = archive.extractfile(_TABLE)
        assert content is not None
        rows = json.load(content)["entries"]
    offsets = [row["offset"] for row in rows] + [start]
    entries: dict[str, Entry] = {}
    for row, following in zip(rows, offsets[1:], strict=True):
        part = (row["offset"], following - row["offset"], row["chunkDigest"])
        if row["type"] == "chunk":
            old = entries[row["name"]]
            entries[row["name"]] = replace(old, parts=(*old.parts, part))
        else:
            entries[row["name"]] = Entry(
                row["name"], row["type"], row["mode"], row["size"], row["linkName"], row["modtime"], (part,)
            )
    return list(entries.values())


def content(packed: bytes, digest: str) -> bytes:
    """What a part inflates to, verified."""
    data = zlib.decompressobj(31).decompress(packed)
    if "sha256:" + hashlib.sha256(data).hexdigest() != digest:
        raise ValueError("a part of the layer has another digest")
    return data


def footer_of(size: int) -> tuple[int, int]:
    """(offset, length) of a blob's footer."""
    return size - _FOOTER, _FOOTER
