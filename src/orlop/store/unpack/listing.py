"""What a diff holds, as it was verified: written with the layer, compared by `orlop store check`."""

from __future__ import annotations

import os
import stat
import zlib
from collections.abc import Iterator
from typing import NamedTuple

import msgspec

Path = tuple[bytes, ...]
_UNPACKED_MAX = 4 << 30


class Record(NamedTuple):
    """One name. `mtime` in nanoseconds, 0 for folders; `checksum` is the content's CRC-32, if any."""

    mode: int
    uid: int
    gid: int
    size: int
    mtime: int
    xattrs: tuple[tuple[str, bytes], ...] = ()
    checksum: int | None = None
    target: bytes = b""
    device: int = 0

    @classmethod
    def of(cls, status: os.stat_result, xattrs: tuple[tuple[str, bytes], ...] = ()) -> Record:
        """As a file is now, its content aside."""
        folder = stat.S_ISDIR(status.st_mode)
        whiteout = stat.S_ISCHR(status.st_mode) and status.st_rdev == 0
        return cls(
            status.st_mode,
            status.st_uid,
            status.st_gid,
            status.st_size if stat.S_ISREG(status.st_mode) else 0,
            0 if folder or whiteout else status.st_mtime_ns,
            xattrs,
            device=status.st_rdev,
        )

    def with_xattr(self, name: str, value: bytes) -> Record:
        others = {key: old for key, old in self.xattrs if key != name}
        return self._replace(xattrs=tuple(sorted({**others, name: value}.items())))


class Listing:
    """Names and their records; a name may be given again."""

    def __init__(self) -> None:
        self._records: dict[Path, Record] = {}

    def __len__(self) -> int:
        return len(self._records)

    def add(self, path: Path, record: Record) -> None:
        self._records[path] = record

    def get(self, path: Path) -> Record | None:
        return self._records.get(path)

    def remove(self, path: Path, *, with_below: bool) -> None:
        self._records.pop(path, None)
        if with_below:
            length = len(path)
            for below in [key for key in self._records if key[:length] == path]:
                del self._records[below]

    def items(self) -> Iterator[tuple[Path, Record]]:
        yield from self._records.items()

    def packed(self) -> bytes:
        """The file's bytes: MessagePack, deflated."""
        rows = [(b"/".join(path), record) for path, record in self._records.items()]
        return zlib.compress(msgspec.msgpack.encode(rows), 1)


def unpacked(data: bytes) -> dict[Path, Record]:
    """What `Listing.packed` wrote. Raises ValueError where it is damaged."""
    try:
        raw = zlib.decompressobj().decompress(data, _UNPACKED_MAX)
        rows = msgspec.msgpack.decode(raw, type=list[tuple[bytes, Record]])
    except (zlib.error, msgspec.DecodeError) as error:
        raise ValueError(str(error)) from error
    return {tuple(name.split(b"/")) if name else (): record for name, record in rows}
