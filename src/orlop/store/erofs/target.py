"""A layer on its way into one file: the tar as it comes, the index behind it."""

from __future__ import annotations

import os

from orlop.store.erofs import metadata
from orlop.store.erofs.tar_within import TAR_OFFSET
from orlop.store.erofs.writer import ErofsWriter
from orlop.store.unpack.write_back import start_writing


class ErofsTarget:
    """A `unpack.target.Target` at the new file `path`. `diff_id` becomes the file system's UUID."""

    writes = True

    def __init__(self, path: str, subject: str, diff_id: str) -> None:
        self.writer = ErofsWriter(subject)
        self._uuid = bytes.fromhex(diff_id.partition(":")[2][:32])
        self._size = 0
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)

    def write(self, piece: bytes) -> None:
        metadata.write_all(self._file, piece, TAR_OFFSET + self._size)
        start_writing(self._file, TAR_OFFSET + self._size, len(piece))
        self._size += len(piece)

    def finish(self) -> None:
        metadata.write(self._file, self.writer, self._size, self._uuid)
        os.fdatasync(self._file)

    def close(self) -> None:
        os.close(self._file)
