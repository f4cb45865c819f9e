"""Hostile archives, each named by the class of attack that it stands for.

For every entry point that takes an archive (pull, and later load, import, cp): the archive must be refused
whole, with an OrlopError, and nothing of it may be left. `CORPUS` holds functions, so that the large ones are
made only where they are used. Paths that lead to the host point below `target`, a folder that the test owns
and looks at afterwards.
"""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Callable
from dataclasses import dataclass

from tests.support.images import Entry, folder, hard_link, symlink, tar

BLOCK = 512


@dataclass(frozen=True)
class Hostile:
    """`make(target)` gives the archive, `packed` says that it is gzip already."""

    name: str
    make: Callable[[str], bytes]
    packed: bool = False


def header(
    name: bytes,
    *,
    kind: bytes = b"0",
    size: int = 0,
    mode: int = 0o644,
    uid: bytes = b"0000000\0",
    link: bytes = b"",
    magic: bytes = b"ustar\x0000",
    size_field: bytes | None = None,
    checksum: int | None = None,
    device: tuple[int, int] = (0, 0),
) -> bytes:
    """One ustar header as it is asked for, sensible or not."""
    block = bytearray(BLOCK)
    block[0 : len(name[:100])] = name[:100]
    block[100:108] = b"%07o\0" % mode
    block[108:116] = uid
    block[116:124] = b"0000000\0"
    block[124:136] = size_field if size_field is not None else b"%011o\0" % size
    block[136:148] = b"%011o\0" % 1_700_000_000
    block[156:157] = kind
    block[157 : 157 + len(link[:100])] = link[:100]
    block[257:265] = magic
    block[329:337] = b"%07o\0" % device[0]
    block[337:345] = b"%07o\0" % device[1]
    block[148:156] = b" " * 8
    total = sum(block) if checksum is None else checksum
    block[148:156] = b"%06o\0 " % total
    return bytes(block)


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % BLOCK)


END = bytes(2 * BLOCK)


def pax(records: bytes, then: bytes) -> bytes:
    """A pax header with these raw records before the header `then`."""
    return header(b"pax", kind=b"x", size=len(records)) + padded(records) + then + END


def record(key: bytes, value: bytes) -> bytes:
    body = b" " + key + b"=" + value + b"\n"
    length = len(body)
    while len(b"%d" % length) + len(body) != length:
        length = len(b"%d" % length) + len(body)
    return b"%d" % length + body


def _file(name: str, data: bytes = b"owned") -> Entry:
    return Entry(name, data)


def _device(name: str, major: int, minor: int) -> Entry:
    return Entry(name, type=tarfile.CHRTYPE, device=(major, minor))


def _bomb_of_headers(_: str) -> bytes:
    """CVE-2025-58183's class: a sparse map that never ends."""
    block = bytearray(header(b"sparse", kind=b"S", magic=b"ustar  \0"))
    block[482] = 1
    block[483:495] = b"%011o\0" % 0
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    piece = b"%011o\0%011o\0" % (0, 0)
    return bytes(block) + (piece * 21 + b"\x01" + bytes(7)) * 3000 + END


def _sparse_beyond(_: str) -> bytes:
    """A hole of 8 EiB."""
    records = record(b"GNU.sparse.major", b"1") + record(b"GNU.sparse.minor", b"0")
    records += record(b"GNU.sparse.name", b"hole") + record(b"GNU.sparse.realsize", b"9223372036854775807")
    return pax(records, header(b"hole", size=BLOCK) + padded(b"0\n"))


def _deep_gzip(target: str) -> bytes:
    """A gzip bomb: 400 MB of zeros in one file, packed a thousandfold twice over."""
    size = 400 << 20
    stream = io.BytesIO()
    with gzip.GzipFile(fileobj=stream, mode="wb", compresslevel=9, mtime=0) as packer:
        packer.write(header(b"zeros", size=size))
        for _ in range(400):
            packer.write(bytes(1 << 20))
        packer.write(END)
    return stream.getvalue()


CORPUS: tuple[Hostile, ...] = (
    # Names that lead out (CVE-2018-1002207 "zip slip", CVE-2019-14271's kin)
    Hostile("dot-dot name", lambda t: tar([_file(f"../{t}/owned")])),
    Hostile("dot-dot inside a name", lambda t: tar([folder("a"), _file("a/../../owned")])),
    Hostile("dot-dot that stays inside", lambda t: tar([folder("a"), _file("a/../b")])),
    Hostile("dot-dot alone", lambda t: tar([folder("..")])),
    Hostile("absolute name", lambda t: tar([_file(f"{t}/owned")])),
    Hostile("absolute name, two slashes", lambda t: header(b"/" + t.encode() + b"/owned") + END),
    Hostile("absolute name in pax", lambda t: pax(record(b"path", t.encode() + b"/owned"), header(b"x"))),
    Hostile(
        "absolute GNU long name",
        lambda t: (
            header(b"././@LongLink", kind=b"L", size=len(t) + 7, magic=b"ustar  \0")
            + padded(t.encode() + b"/owned\0")
            + header(b"x")
            + END
        ),
    ),
    # Writing through links (CVE-2021-32760, CVE-2025-47290, CVE-2018-15664, CVE-2024-1753)
    Hostile("write through an absolute link", lambda t: tar([symlink("x", t), _file("x/owned")])),
    Hostile(
        "write through a link that climbs", lambda t: tar([symlink("x", "../../../.."), _file("x/owned")])
    ),
    Hostile(
        "write through a link to a link",
        lambda t: tar([symlink("a", t), symlink("b", "a"), _file("b/owned")]),
    ),
    Hostile(
        "write through a link in a folder that climbs",
        lambda t: tar([folder("d"), symlink("d/x", "../.."), _file("d/x/owned")]),
    ),
    Hostile("folder through a link", lambda t: tar([symlink("x", t), folder("x/owned")])),
    Hostile("link through a link", lambda t: tar([symlink("x", t), symlink("x/owned", "y")])),
    Hostile(
        "hard link through a link", lambda t: tar([symlink("x", t), _file("f"), hard_link("x/owned", "f")])
    ),
    Hostile("device through a link", lambda t: tar([symlink("x", t), _device("x/owned", 1, 3)])),
    Hostile("whiteout through a link", lambda t: tar([symlink("x", t), _file("x/.wh.kept", b"")])),
    Hostile("opaque mark through a link", lambda t: tar([symlink("x", t), _file("x/.wh..wh..opq", b"")])),
    Hostile("links in a circle", lambda t: tar([symlink("a", "b"), symlink("b", "a"), _file("a/owned")])),
    Hostile("link to itself", lambda t: tar([symlink("a", "a"), _file("a/owned")])),
    Hostile("write through a file", lambda t: tar([_file("f"), _file("f/owned")])),
    # Hard links out (CVE-2020-27534's kin)
    Hostile("hard link to an absolute name", lambda t: tar([hard_link("x", f"{t}/kept")])),
    Hostile("hard link to dot-dot", lambda t: tar([hard_link("x", "../../../../etc/passwd")])),
    Hostile("hard link through a link out", lambda t: tar([symlink("d", t), hard_link("x", "d/kept")])),
    Hostile("hard link to what is not there", lambda t: tar([hard_link("x", "nothing")])),
    Hostile("hard link to a folder", lambda t: tar([folder("d"), hard_link("x", "d")])),
    Hostile("hard link to the root", lambda t: tar([hard_link("x", ".")])),
    # Whiteouts and overlayfs' own marks
    Hostile("whiteout of the parent", lambda t: tar([folder("d"), _file("d/.wh...", b"")])),
    Hostile("whiteout of the folder itself", lambda t: tar([folder("d"), _file("d/.wh..", b"")])),
    Hostile("whiteout of nothing", lambda t: tar([_file(".wh.", b"")])),
    Hostile("whiteout of the root's parent", lambda t: tar([_file(".wh...", b"")])),
    Hostile("whiteout with dot-dot", lambda t: tar([_file("../.wh.kept", b"")])),
    Hostile("folder named as a whiteout", lambda t: tar([_file(".wh.d/owned")])),
    Hostile("device 0:0 as a whiteout", lambda t: tar([_device("etc", 0, 0)])),
    # Sizes and bombs (CVE-2023-25153, CVE-2025-58183, CVE-2026-47262)
    Hostile("size beyond the stream", lambda t: header(b"x", size=1 << 20) + b"short"),
    Hostile(
        "size of an exbibyte", lambda t: header(b"x", size_field=b"\x80" + (1 << 60).to_bytes(11, "big"))
    ),
    Hostile("negative size", lambda t: header(b"x", size_field=b"\xff" * 12) + END),
    Hostile("size in pax beyond all", lambda t: pax(record(b"size", b"9" * 19), header(b"x"))),
    Hostile("size in pax that is no number", lambda t: pax(record(b"size", b"-1"), header(b"x"))),
    Hostile("hole beyond all bounds", _sparse_beyond),
    Hostile("sparse map without end", _bomb_of_headers),
    Hostile(
        "pax header beyond its bound",
        lambda t: header(b"p", kind=b"x", size=64 << 20) + bytes(64 << 20) + END,
    ),
    Hostile(
        "long name beyond its bound",
        lambda t: header(b"l", kind=b"L", size=64 << 20, magic=b"ustar  \0") + b"a" * (64 << 20) + END,
    ),
    Hostile("gzip bomb", _deep_gzip, packed=True),
    Hostile("path beyond its length", lambda t: tar([_file("/".join(["d" * 200] * 40))])),
    Hostile("path beyond its depth", lambda t: tar([_file("d/" * 2000 + "f")])),
    Hostile("name longer than a file system takes", lambda t: tar([_file("n" * 300)])),
    # Fields that mean something else to the kernel
    Hostile("owner -1", lambda t: pax(record(b"uid", b"4294967295"), header(b"x"))),
    Hostile("owner beyond 32 bits", lambda t: pax(record(b"gid", b"4294967296"), header(b"x"))),
    Hostile("negative owner", lambda t: header(b"x", uid=b"\xff" * 8) + END),
    Hostile("zero byte in a name", lambda t: pax(record(b"path", b"a\0b"), header(b"x"))),
    Hostile("zero byte in a link", lambda t: pax(record(b"linkpath", b"a\0b"), header(b"x", kind=b"2"))),
    Hostile("link to nothing", lambda t: header(b"x", kind=b"2") + END),
    Hostile("device beyond all numbers", lambda t: header(b"x", kind=b"3", device=(0o777777, 1)) + END),
    Hostile(
        "attribute beyond its bound",
        lambda t: pax(record(b"SCHILY.xattr.user.x", b"v" * 100_000), header(b"x")),
    ),
    Hostile("file as the root", lambda t: header(b"./") + header(b".", kind=b"2", link=b"/etc") + END),
    # Broken archives
    Hostile("no archive at all", lambda t: b"this is not a tar archive" * 100),
    Hostile("wrong checksum", lambda t: header(b"x", checksum=1) + END),
    Hostile("cut in a header", lambda t: header(b"x")[:300]),
    Hostile("cut after a pax header", lambda t: header(b"p", kind=b"x", size=12) + padded(b"12 path=abc\n")),
    Hostile("pax length that lies", lambda t: pax(b"99 path=abc\n", header(b"x"))),
    Hostile("pax record without a key", lambda t: pax(b"5 =a\n", header(b"x"))),
    Hostile("number that is none", lambda t: header(b"x", size_field=b"0o0000000x0\0") + END),
    Hostile("kind unknown to all", lambda t: header(b"x", kind=b"Q") + END),
    Hostile("multi-volume piece", lambda t: header(b"x", kind=b"M") + END),
)
