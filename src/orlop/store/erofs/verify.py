"""Whether a layer's image is still what was verified when it came."""

from __future__ import annotations

import hashlib
import os

from orlop.kit import limits
from orlop.store.erofs import format as on_disk
from orlop.store.erofs import metadata
from orlop.store.erofs.tar_within import TAR_OFFSET

_PIECE = 1 * limits.MIB


def damage(path: str, diff_id: str) -> list[str]:
    """What is wrong, in words; empty where all is as it was. Reads every byte."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return ["its image is absent"]
    except OSError as error:
        return [f"its image cannot be opened ({error.strerror})"]
    try:
        return _damage(file, diff_id)
    except ValueError as error:
        return [f"its image is damaged: {error}"]
    except OSError as error:
        return [f"its image cannot be read ({error.strerror})"]
    finally:
        os.close(file)


def _damage(file: int, diff_id: str) -> list[str]:
    first = os.pread(file, TAR_OFFSET, 0)
    header = on_disk.Header.read(first)
    found = []
    if os.fstat(file).st_size != header.length:
        return [f"its image has {os.fstat(file).st_size} bytes, not {header.length}"]
    if not on_disk.is_superblock_whole(first):
        found.append("its superblock was changed")
    if _digest(file, header.tar_size, diff_id.partition(":")[0]) != diff_id:
        found.append("its archive has another digest")
    if metadata.checksum(file, TAR_OFFSET + header.tar_size, header.length) != header.checksum:
        found.append("its index was changed")
    return found


def _digest(file: int, size: int, algorithm: str) -> str:
    hasher = hashlib.new(algorithm)
    at, end = TAR_OFFSET, TAR_OFFSET + size
    buffer = memoryview(bytearray(_PIECE))
    while at < end:
        count = os.preadv(file, [buffer[: end - at]], at)
        if not count:
            raise ValueError("it is too short")
        hasher.update(buffer[:count])
        at += count
    return f"{algorithm}:{hasher.hexdigest()}"
