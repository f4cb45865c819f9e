"""A streaming reader of tar archives: POSIX ustar and pax (IEEE 1003.1-2024, pax), GNU tar, old V7.

Written for this one use instead of `tarfile`: it never seeks, never trusts a length, gives data out in the
pieces in which they came (no copies), and knows all three sparse formats.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Callable, Iterator
from zlib import adler32

from orlop.kit import limits
from orlop.kit.errors import Corrupt, LimitExceeded
from orlop.store.unpack import pax

BLOCK = 512
_ZEROS = bytes(BLOCK)
#: Name, mode, uid, gid, size, mtime, (checksum), kind, link, magic, (owner's names, device), prefix.
_header = struct.Struct("100s8s8s8s12s12s8xc100s6s82x155s12x").unpack
_MODULUS = 65521  # of Adler-32
_OCTAL_DIGITS = frozenset(b"01234567")
REGULAR, HARD_LINK, SYMLINK, CHAR, BLOCK_DEVICE, FOLDER, FIFO = b"0", b"1", b"2", b"3", b"4", b"5", b"6"
_SPARSE = b"S"
_KNOWN = frozenset((REGULAR, HARD_LINK, SYMLINK, CHAR, BLOCK_DEVICE, FOLDER, FIFO))
_AS_REGULAR = frozenset((b"\0", b"7", _SPARSE))


class Entry:
    """One entry's header. Names are bytes, as in the archive; times in nanoseconds.

    `stored` is the count of data bytes that follow in the archive, `size` the length of the file that they
    make; they differ for sparse files, whose `sparse` lists (offset, length) of what is stored.
    """

    __slots__ = (
        "gid", "kind", "link", "major", "minor", "mode", "mtime", "name", "size", "sparse", "stored", "uid",
        "xattrs",
    )  # fmt: skip

    def __init__(self, name: bytes, kind: bytes, size: int) -> None:
        self.name = name
        self.kind = kind
        self.size = self.stored = size
        self.mode = self.uid = self.gid = self.mtime = self.major = self.minor = 0
        self.link = b""
        self.xattrs: dict[str, bytes] | None = None
        self.sparse: list[tuple[int, int]] | None = None


class Archive:
    """Entries in order, from `next_piece` (pieces of any length; None at the end).

    Between two calls of `entry` the data may be taken by `data`; what was left is skipped.
    Raises Corrupt for what is no archive and LimitExceeded for headers beyond limits.TAR_HEADER.
    """

    def __init__(self, next_piece: Callable[[], bytes | None], subject: str) -> None:
        self._next_piece = next_piece
        self._subject = subject
        self._piece = b""
        self._at = 0
        self._before = 0  # bytes of the pieces that are used up
        self._left = 0  # of the present entry's data
        self._padding = 0
        self._global: dict[str, bytes] = {}

    def entry(self) -> Entry | None:
        """The next entry, None at the archive's end (two zero blocks, or the end between two entries)."""
        left = self._left + self._padding
        if left and self._at + left <= len(self._piece):
            self._at += left  # as most often: all of it is here
        elif left:
            self._skip(self._left)
            self._skip_padding()
        self._left = self._padding = 0
        records: dict[str, bytes] = {}
        sparse_records: list[tuple[str, bytes]] = []
        long_name = long_link = b""
        extended = False
        while True:
            block = self._block(extended)
            if block is None:
                return None
            kind = block[156:157]
            if kind in (b"x", b"X"):
                sparse_records = pax.parse(self._document(block), self._subject)
                records = dict(sparse_records)
            elif kind == b"g":
                self._add_global(pax.parse(self._document(block), self._subject))
            elif kind == b"L":
                long_name = self._document(block).partition(b"\0")[0]
            elif kind == b"K":
                long_link = self._document(block).partition(b"\0")[0]
            elif kind == b"V":  # GNU volume label: names the tape
                self._skip(_rounded(self._number(block[124:136])))
            else:
                break
            extended = kind != b"g" and kind != b"V"
        if self._global:
            records = {**self._global, **records}
        return self._finish(block, records, sparse_records, long_name, long_link)

    def data(self) -> Iterator[memoryview]:
        """The present entry's stored bytes, in pieces that are valid until the next piece is asked for."""
        while self._left:
            if self._at >= len(self._piece):
                self._refill()
            end = min(len(self._piece), self._at + self._left)
            view = memoryview(self._piece)[self._at : end]
            self._left -= end - self._at
            self._at = end
            yield view

    @property
    def position(self) -> int:
        """Bytes from the archive's beginning to what is read next: after `entry`, its stored data."""
        return self._before + self._at

    def take(self, count: int) -> bytes:
        """Exactly `count` of the present entry's stored bytes."""
        if count > self._left:
            raise self._corrupt("an entry's data is shorter than its own map")
        self._left -= count
        return self._exactly(count)

    # -- headers ---------------------------------------------------------------------------------------

    def _block(self, expected: bool) -> bytes | None:
        """The next header block; None at the end of the archive."""
        if self._at + BLOCK <= len(self._piece):
            block = self._piece[self._at : self._at + BLOCK]
            self._at += BLOCK
        elif self._ended():
            if expected:
                raise self._corrupt("it ends where an entry should follow")
            return None
        else:
            block = self._exactly(BLOCK)
        if block == _ZEROS:
            if expected:
                raise self._corrupt("it ends where an entry should follow")
            return None
        recorded = self._number(block[148:156])
        if _sum(block) != recorded % _MODULUS and _signed_sum(block) != recorded:
            raise self._corrupt("a header's checksum is wrong; this is no tar archive, or a broken one")
        return block

    def _add_global(self, records: list[tuple[str, bytes]]) -> None:
        self._global.update(records)
        if sum(len(key) + len(value) for key, value in self._global.items()) > limits.TAR_HEADER:
            raise LimitExceeded(self._subject, "global headers without end", hint="do not trust this image")

    def _finish(
        self,
        block: bytes,
        records: dict[str, bytes],
        ordered: list[tuple[str, bytes]],
        long_name: bytes,
        long_link: bytes,
    ) -> Entry:
        name, mode, uid, gid, size, mtime, kind, link, magic, prefix = _header(block)
        name = name.partition(b"\0")[0]
        if prefix[0] and magic == b"ustar\0":
            name = prefix.partition(b"\0")[0] + b"/" + name
        number = self._number
        entry = Entry(long_name or name, kind, number(size))
        entry.mode = number(mode) & 0o7777
        entry.uid = number(uid)
        entry.gid = number(gid)
        entry.mtime = number(mtime, signed=True) * 1_000_000_000
        entry.link = long_link or link.partition(b"\0")[0]
        if kind in (CHAR, BLOCK_DEVICE):
            entry.major = self._number(block[329:337])
            entry.minor = self._number(block[337:345])
        if kind == _SPARSE:
            self._old_sparse(block, entry)
        if records:
            pax.apply(entry, records, self._subject)
        if kind in _AS_REGULAR:
            entry.kind = REGULAR
        elif kind not in _KNOWN:
            raise self._corrupt(f"an entry of kind {kind!r}, which no layer may hold")
        if entry.kind == REGULAR and entry.name.endswith(b"/"):
            entry.kind = FOLDER  # as V7 archives wrote folders
        if entry.kind in (SYMLINK, CHAR, BLOCK_DEVICE, FOLDER, FIFO):
            entry.size = entry.stored = 0  # POSIX: no data follows, whatever the field says
        elif entry.kind == HARD_LINK and "size" not in records:
            entry.size = entry.stored = 0  # only pax archives may carry a link's data
        self._left, self._padding = entry.stored, -entry.stored % BLOCK
        if records:
            self._pax_sparse(entry, records, ordered)
        return entry

    def _document(self, block: bytes) -> bytes:
        """The data of a header that describes the next one."""
        size = self._number(block[124:136])
        if size > limits.TAR_HEADER:
            raise LimitExceeded(
                self._subject,
                f"a header of {size} bytes in its archive",
                hint="no honest image has such headers; do not trust it",
            )
        data = self._exactly(_rounded(size))
        return data[:size]

    def _number(self, field: bytes, *, signed: bool = False) -> int:
        """An octal number, or a base-256 one (GNU, star) where the first bit is set."""
        if field[0] < 0x80:
            try:
                return _octal(field)
            except ValueError:
                raise self._corrupt(f"a header's number is not one: {field!r}") from None
        value = int.from_bytes(field, "big") & ((1 << (8 * len(field) - 1)) - 1)
        if field[0] & 0x40:
            value -= 1 << (8 * len(field) - 1)
        if value < 0 and not signed:
            raise self._corrupt(f"a header's number is negative: {value}")
        return value

    # -- sparse files ----------------------------------------------------------------------------------

    def _old_sparse(self, block: bytes, entry: Entry) -> None:
        """GNU's first format: four pieces in the header, 21 in each block that follows it."""
        pieces = self._pieces_in(block, 386, 4)
        extended = block[482]
        while extended:
            more = self._exactly(BLOCK)
            pieces += self._pieces_in(more, 0, 21)
            extended = more[504]
            if len(pieces) * 24 > limits.TAR_HEADER:
                raise LimitExceeded(self._subject, "a sparse map without end", hint="do not trust this image")
        entry.size = self._number(block[483:495])
        entry.sparse = self._checked(pieces, entry.size, entry.stored)

    def _pieces_in(self, block: bytes, at: int, count: int) -> list[tuple[int, int]]:
        pieces = []
        for start in range(at, at + 24 * count, 24):
            if not block[start]:
                break
            pieces.append(
                (self._number(block[start : start + 12]), self._number(block[start + 12 : start + 24]))
            )
        return pieces

    def _pax_sparse(self, entry: Entry, records: dict[str, bytes], ordered: list[tuple[str, bytes]]) -> None:
        """GNU's formats 0.0 and 0.1 (map in the header) and 1.0 (map at the start of the data)."""
        if entry.kind != REGULAR or not any(key.startswith("GNU.sparse.") for key in records):
            return
        size = records.get("GNU.sparse.realsize", records.get("GNU.sparse.size"))
        if size is None:
            raise self._corrupt("a sparse entry without its size")
        entry.size = pax.number(size, self._subject)
        if records.get("GNU.sparse.major") == b"1":
            pieces = self._map_in_data(entry)
        elif "GNU.sparse.map" in records:
            numbers = records["GNU.sparse.map"].split(b",") if records["GNU.sparse.map"] else []
            pieces = self._paired(numbers[::2], numbers[1::2])
        else:
            pieces = self._paired(
                [value for key, value in ordered if key == "GNU.sparse.offset"],
                [value for key, value in ordered if key == "GNU.sparse.numbytes"],
            )
        entry.sparse = self._checked(pieces, entry.size, self._left)

    def _paired(self, offsets: list[bytes], lengths: list[bytes]) -> list[tuple[int, int]]:
        if len(offsets) != len(lengths):
            raise self._corrupt("a sparse map of odd length")
        return [
            (pax.number(offset, self._subject), pax.number(length, self._subject))
            for offset, length in zip(offsets, lengths, strict=True)
        ]

    def _map_in_data(self, entry: Entry) -> list[tuple[int, int]]:
        """Decimal numbers, a line each: the count, then offset and length of each piece; padded."""
        text = b""

        def line() -> int:
            nonlocal text
            while b"\n" not in text:
                if self._left < BLOCK or len(text) > BLOCK:
                    raise self._corrupt("a sparse map that does not end")
                text += self.take(BLOCK)
            number, _, text = text.partition(b"\n")
            return pax.number(number, self._subject)

        count = line()
        if count * 4 > limits.TAR_HEADER:
            raise LimitExceeded(self._subject, "a sparse map without end", hint="do not trust this image")
        pieces = [(line(), line()) for _ in range(count)]
        entry.stored = self._left
        return pieces

    def _checked(self, pieces: list[tuple[int, int]], size: int, stored: int) -> list[tuple[int, int]]:
        end = 0
        for offset, length in pieces:
            if offset < end or offset + length > size:
                raise self._corrupt("a sparse map that overlaps or leaves its file")
            end = offset + length
        if sum(length for _, length in pieces) != stored:
            raise self._corrupt("a sparse map that does not match its data")
        return pieces

    # -- bytes -----------------------------------------------------------------------------------------

    def _refill(self) -> None:
        piece = self._next_piece()
        if piece is None:
            raise self._corrupt("it ends in the middle of an entry")
        self._before += len(self._piece)
        self._piece, self._at = piece, 0

    def _ended(self) -> bool:
        while self._at >= len(self._piece):
            piece = self._next_piece()
            if piece is None:
                return True
            self._before += len(self._piece)
            self._piece, self._at = piece, 0
        return False

    def _exactly(self, count: int) -> bytes:
        end = self._at + count
        if end <= len(self._piece):
            data = self._piece[self._at : end]
            self._at = end
            return data
        parts = []
        while count:
            if self._at >= len(self._piece):
                self._refill()
            part = self._piece[self._at : self._at + count]
            parts.append(part)
            self._at += len(part)
            count -= len(part)
        return b"".join(parts)

    def _skip(self, count: int) -> None:
        while count:
            if self._at >= len(self._piece):
                self._refill()
            step = min(count, len(self._piece) - self._at)
            self._at += step
            count -= step

    def _skip_padding(self) -> None:
        """To the next block; the last entry's may be left out (umoci insert does, and its peers bear it)."""
        while self._padding and not self._ended():
            step = min(self._padding, len(self._piece) - self._at)
            self._at += step
            self._padding -= step

    def _corrupt(self, why: str) -> Corrupt:
        return Corrupt(self._subject, f"its archive is broken: {why}", hint="pull again, or build it again")


@functools.lru_cache(maxsize=4096)  # modes, owners and most times come again and again
def _octal(field: bytes) -> int:
    text = field.partition(b"\0")[0].strip(b" ")
    if not _OCTAL_DIGITS.issuperset(text):
        raise ValueError
    return int(text, 8) if text else 0


def _rounded(size: int) -> int:
    return size + -size % BLOCK


def _sum(block: bytes) -> int:
    """The header's checksum (all bytes, its own field as spaces) modulo 65521, by the fastest way there is:
    the lower half of Adler-32 is the sum of the bytes, and 1. Honest sums are below 65521.
    """
    return ((adler32(block) & 0xFFFF) - 1 - sum(block[148:156]) + 8 * 32) % _MODULUS


def _signed_sum(block: bytes) -> int:
    """As some old tars counted: bytes as signed."""
    high = sum(1 for byte in block[:148] + block[156:] if byte > 127)
    return sum(block) - sum(block[148:156]) + 8 * 32 - 256 * high
