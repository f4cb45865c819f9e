"""A tar archive that is written in several places at once, beside its final name, and renamed when whole.

A member's size is known before its bytes come (a descriptor has it), so each gets its place, and many threads
fill them at the same time without a second copy.
"""

from __future__ import annotations

import contextlib
import errno
import os
import tarfile
import threading
from dataclasses import dataclass

from orlop.image.manifest import Descriptor
from orlop.image.sink import Reader
from orlop.image.transport.layout.files import told
from orlop.image.transport.layout.reading import Turn, receive
from orlop.kit import files, limits
from orlop.kit.errors import Conflict

_BLOCK = 512
_RECORD = 20 * _BLOCK  # as tar(1) ends its archives
_ZEROS = bytes(1 * limits.MIB)


@dataclass
class _Place:
    offset: int
    size: int
    reached: int = 0  # where what was written ends
    whole: bool = False


class TarWriter:
    """The archive `path`, made anew. For many threads. Raises Denied, Unavailable, Conflict."""

    def __init__(self, path: str, subject: str, turn: Turn) -> None:
        self._path = os.path.abspath(path)
        self._subject = subject
        self._turn = turn
        self._lock = threading.Lock()
        self._places: dict[str, _Place] = {}
        self._busy: dict[str, threading.Lock] = {}
        self._end = 0
        if os.path.lexists(path) and not os.path.isfile(path):
            raise Conflict(subject, "is no file", hint="choose another path")
        self._temporary = ""  # its name, where the file system has no files without one
        with told(subject):
            self._descriptor = self._begun()

    def has(self, name: str) -> bool:
        with self._lock:
            place = self._places.get(name)
            return place is not None and place.whole

    def put_blob(self, name: str, blob: Descriptor, reader: Reader) -> None:
        """The member `name`, checked. Raises Corrupt; the same name may then be put again."""
        with self._lock:
            alone = self._busy.setdefault(name, threading.Lock())
        with alone, told(self._subject):
            if self.has(name):
                return
            place = self._place(name, blob.size)
            at = place.offset

            def write(piece: memoryview) -> None:
                nonlocal at
                at = self._write(piece, at)
                place.reached = max(place.reached, at)

            receive(blob, reader, write, self._turn)
            place.whole = True

    def put_bytes(self, name: str, data: bytes) -> None:
        with told(self._subject):
            if not self.has(name):
                place = self._place(name, len(data))
                self._write(data, place.offset)
                place.whole = True

    def publish(self) -> None:
        """The archive is complete, durable and has its name. Members that never became whole are zeros."""
        with self._lock, told(self._subject):
            for place in self._places.values():
                if not place.whole:
                    self._blank(place)
            end = self._end + 2 * _BLOCK
            os.ftruncate(self._descriptor, end + -end % _RECORD)
            os.fdatasync(self._descriptor)
            if not self._temporary:
                temporary = self._new_name()
                # linkat(2) with AT_SYMLINK_FOLLOW: Python uses link(2), which follows none, without a dir_fd
                link = f"/proc/self/fd/{self._descriptor}"
                os.link(link, temporary, src_dir_fd=self._descriptor, follow_symlinks=True)
                self._temporary = temporary
            os.rename(self._temporary, self._path)
            self._temporary = ""
            files.sync_folder(os.path.dirname(self._path))

    def close(self) -> None:
        """Idempotent; what was not published leaves nothing."""
        with self._lock, contextlib.suppress(OSError):
            if self._descriptor >= 0:
                os.close(self._descriptor)
            self._descriptor = -1
            if self._temporary:
                os.unlink(self._temporary)
                self._temporary = ""

    def _begun(self) -> int:
        """A new file, without a name where that can be: a kill leaves nothing then."""
        try:
            return os.open(os.path.dirname(self._path), os.O_RDWR | os.O_TMPFILE | os.O_CLOEXEC, 0o644)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EISDIR):
                raise
        self._temporary = self._new_name()
        return os.open(self._temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)

    def _new_name(self) -> str:
        return f"{self._path}.{files.unique()}.tmp"

    def _place(self, name: str, size: int) -> _Place:
        """Where `name` lies: a new place, its header written, or the one of an earlier attempt."""
        with self._lock:
            place = self._places.get(name)
            if place is not None and place.size == size:
                return place
            if place is not None:
                raise Conflict(f"{self._subject}: {name}", "was put with another size", hint="begin again")
            header = _header(name, size)
            self._write(header, self._end)
            place = self._places[name] = _Place(self._end + len(header), size)
            self._end = place.offset + size + -size % _BLOCK
            return place

    def _write(self, data: bytes | memoryview, at: int) -> int:
        view = memoryview(data)
        while view:
            count = os.pwrite(self._descriptor, view, at)
            view, at = view[count:], at + count
        return at

    def _blank(self, place: _Place) -> None:
        """What nobody could check is not handed on; beyond what was written there is a hole."""
        at = place.offset
        while at < place.reached:
            at = self._write(_ZEROS[: place.reached - at], at)


def _header(name: str, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size = size
    info.mode = 0o644
    return info.tobuf(tarfile.PAX_FORMAT)
