"""The members of a tar archive of images, indexed once, read where they lie: POSIX ustar and pax, GNU names.

Nothing is unpacked, so a name cannot lead anywhere; yet an archive that two readers may read in two ways is
refused whole: names that are absolute or climb, a name twice, sparse members.
"""

from __future__ import annotations

import contextlib
import os
import posixpath
import stat
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

from orlop.image.transport.layout import unpacked
from orlop.image.transport.layout.files import failed, told
from orlop.image.transport.layout.reading import Region, Turn
from orlop.kit import limits
from orlop.kit.errors import Cancelled, Corrupt, LimitExceeded, NotFound

BLOCK = 512
_HINT = "the archive is damaged or forged: do not trust it"
_FILES = (b"0", b"\0", b"7")
_FOLDER = b"5"
_HARD, _SYMBOLIC = b"1", b"2"


@dataclass(frozen=True)
class Member:
    """`link` is the name that it leads to, for a link; else `size` bytes lie at `offset`."""

    offset: int
    size: int
    link: str = ""


@dataclass
class _Extra:
    """What the headers before a member's own say of it."""

    name: str = ""
    link: str = ""
    size: int | None = None
    records: dict[str, str] = field(default_factory=dict)


class ArchiveFiles:
    """files.Files over an archive. A compressed one, or a pipe, is unpacked to a file without a name first.

    Raises NotFound, Corrupt, LimitExceeded, Cancelled.
    """

    def __init__(self, path: str, subject: str, turn: Turn) -> None:
        self.subject = subject
        self._lock = threading.Lock()
        with told(subject):
            self._descriptor = _opened(path, subject, turn)
        try:
            with told(subject):
                size = os.fstat(self._descriptor).st_size
                self._members = _Headers(self._descriptor, size, subject, turn).members()
        except BaseException:
            os.close(self._descriptor)
            raise

    def names(self) -> tuple[str, ...]:
        return tuple(self._members)

    def has(self, name: str) -> bool:
        return name in self._members

    def resolved(self, name: str) -> str:
        """The name of the plain file that `name` leads to through links. Raises NotFound, Corrupt."""
        for _ in range(limits.FILE_LINKS):
            member = self._members.get(name)
            if member is None:
                raise NotFound(f"{self.subject}: {name}", "no such file", hint="the archive is not whole")
            if not member.link:
                return name
            name = member.link
        raise Corrupt(f"{self.subject}: {name}", "is a link without end", hint=_HINT)

    def size(self, name: str) -> int:
        return self._members[self.resolved(name)].size

    @contextlib.contextmanager
    def open(self, name: str) -> Iterator[Region]:
        member = self._members[self.resolved(name)]
        with self._lock:
            if self._descriptor < 0:
                raise Cancelled(self.subject, "was closed", hint="run the command again")
            region = Region(os.dup(self._descriptor), member.offset, member.size)
        try:
            yield region
        finally:
            region.close()

    def close(self) -> None:
        with self._lock:
            if self._descriptor >= 0:
                os.close(self._descriptor)
                self._descriptor = -1


def _opened(path: str, subject: str, turn: Turn) -> int:
    """A descriptor of the archive, seekable and not compressed."""
    try:
        found = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise NotFound(subject, "no such file", hint="see whether the path is right") from None
    except OSError as error:
        raise failed(subject, error) from error
    status = os.fstat(found)
    if stat.S_ISDIR(status.st_mode):
        os.close(found)
        raise Corrupt(subject, "is a folder, not an archive", hint="name it as oci:PATH or dir:PATH")
    regular = stat.S_ISREG(status.st_mode)
    if regular and not unpacked.compression_of(os.pread(found, 8, 0)):
        return found
    with os.fdopen(found, "rb") as stream:
        return unpacked.spooled(stream, status.st_size if regular else None, subject, turn)


class _Headers:
    """One walk over the headers."""

    def __init__(self, descriptor: int, size: int, subject: str, turn: Turn) -> None:
        self._descriptor = descriptor
        self._end = size
        self._subject = subject
        self._turn = turn
        self._at = 0

    def members(self) -> dict[str, Member]:
        found: dict[str, Member] = {}
        count = 0
        while (block := self._header()) is not None:
            count += 1
            if count > limits.FILE_MEMBERS:
                raise LimitExceeded(self._subject, f"has more than {limits.FILE_MEMBERS} members", hint=_HINT)
            if count % 1000 == 0:
                self._turn.check()
            extra = _Extra()
            while (kind := block[156:157]) in (b"x", b"g", b"L", b"K"):
                self._take_extra(kind, block, extra)
                following = self._header()
                if following is None:
                    raise self._corrupt("it ends where a member should follow")
                block = following
            self._add(found, block, extra)
        if not count:
            raise self._corrupt("it is empty")
        return found

    def _add(self, found: dict[str, Member], block: bytes, extra: _Extra) -> None:
        kind = block[156:157]
        if any(key.startswith("GNU.sparse.") for key in extra.records) or kind == b"S":
            raise self._corrupt("a sparse member, which no archive of images needs")
        name = self._clean(extra.name or _name(block))
        size = self._number(block[124:136]) if extra.size is None else extra.size
        if kind in (_HARD, _SYMBOLIC, _FOLDER):
            size = 0
        offset = self._at
        self._at += size + -size % BLOCK
        if offset + size > self._end:
            raise self._corrupt(f"it ends in the middle of {name!r}")
        if kind == _FOLDER or not name:
            return
        if kind not in (*_FILES, _HARD, _SYMBOLIC):
            raise self._corrupt(f"member {name!r} is neither file, folder nor link")
        link = ""
        if kind in (_HARD, _SYMBOLIC):
            target = extra.link or _text(block[157:257])
            base = posixpath.dirname(name) if kind == _SYMBOLIC else ""
            link = self._clean(posixpath.normpath(posixpath.join(base, target)))
            if not link:
                raise self._corrupt(f"member {name!r} is a link to nothing")
        if name in found:
            raise self._corrupt(f"member {name!r} is there twice")
        found[name] = Member(offset, size, link)

    def _clean(self, name: str) -> str:
        """Without `./`; "" for the root. Raises Corrupt for what leaves it."""
        if name.startswith("/") or ".." in name.split("/") or "\0" in name or len(name) > limits.PATH_LENGTH:
            raise self._corrupt(f"the name {name[:200]!r} leads out of it")
        return "/".join(part for part in name.split("/") if part not in ("", "."))

    def _take_extra(self, kind: bytes, block: bytes, extra: _Extra) -> None:
        size = self._number(block[124:136])
        if size > limits.TAR_HEADER:
            raise LimitExceeded(self._subject, f"has a header of {size} bytes", hint=_HINT)
        data = self._read(size + -size % BLOCK)[:size]
        if kind == b"L":
            extra.name = _text(data)
        elif kind == b"K":
            extra.link = _text(data)
        elif kind == b"x":
            extra.records.update(self._records(data))
            extra.name = extra.records.get("path", extra.name)
            extra.link = extra.records.get("linkpath", extra.link)
            if "size" in extra.records:
                extra.size = self._decimal(extra.records["size"])
        elif {"path", "linkpath", "size"} & self._records(data).keys():
            raise self._corrupt("a global header that renames members")

    def _records(self, data: bytes) -> dict[str, str]:
        found: dict[str, str] = {}
        while data:
            length, space, _ = data[:20].partition(b" ")
            count = self._decimal(length.decode("ascii", "replace")) if space else 0
            record = data[len(length) + 1 : count]
            key, equals, value = record.partition(b"=")
            if not len(length) + 2 < count <= len(data) or not equals or record[-1:] != b"\n":
                raise self._corrupt("a pax header that is none")
            found[key.decode("utf-8", "surrogateescape")] = value[:-1].decode("utf-8", "surrogateescape")
            data = data[count:]
        return found

    def _header(self) -> bytes | None:
        """The next block that is a header; None at the end of the archive."""
        if self._at >= self._end:
            return None
        block = self._read(BLOCK)
        if not any(block):
            return None
        if sum(block) - sum(block[148:156]) + 8 * 32 != self._number(block[148:156]):
            raise self._corrupt("a header's checksum is wrong; this is no tar archive, or a broken one")
        return block

    def _read(self, count: int) -> bytes:
        data = os.pread(self._descriptor, count, self._at)
        if len(data) < count:
            raise self._corrupt("it ends in the middle of a header; this is no tar archive, or a broken one")
        self._at += count
        return data

    def _number(self, value: bytes) -> int:
        """Octal, or base 256 where the first bit is set (GNU)."""
        if value[0] == 0x80:
            return int.from_bytes(value[1:], "big")
        text = value.partition(b"\0")[0].strip(b" ")
        if not frozenset(b"01234567").issuperset(text):
            raise self._corrupt(f"a header's number is not one: {value!r}")
        return int(text, 8) if text else 0

    def _decimal(self, text: str) -> int:
        if not (text.isascii() and text.isdigit() and len(text) < 20):
            raise self._corrupt(f"a header's number is not one: {text[:40]!r}")
        return int(text)

    def _corrupt(self, why: str) -> Corrupt:
        return Corrupt(self._subject, why, hint=_HINT)


def _name(block: bytes) -> str:
    name = _text(block[:100])
    if block[257:263] == b"ustar\0" and block[345]:
        return f"{_text(block[345:500])}/{name}"
    return name


def _text(data: bytes) -> str:
    return data.partition(b"\0")[0].decode("utf-8", "surrogateescape")
