"""Files on their way into a folder that others read and write: staged beside it, then renamed into it.

What a killed writer left staged is removed by the next one: a staging folder is locked while its owner lives.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator

from orlop.image.digest import Digest
from orlop.image.manifest import Descriptor
from orlop.image.sink import Reader
from orlop.image.transport.layout.files import told
from orlop.image.transport.layout.reading import Turn, receive
from orlop.kit import files, limits, locks
from orlop.kit.errors import Conflict, Corrupt

PREFIX = ".orlop-"
_READABLE = 0o644


class Staging:
    """A folder within `path` (made if absent) for one writer. For many threads.

    Raises Denied, Unavailable. `close` removes it, and `path` too where it was made here and is empty.
    """

    def __init__(self, path: str, subject: str, turn: Turn) -> None:
        self._path = path
        self._subject = subject
        self._turn = turn
        self._lock = threading.Lock()
        self._staged: dict[str, str] = {}
        self._held = contextlib.ExitStack()
        self._closed = False
        with told(subject):
            self._made = _make(path)
            self.folder = os.path.join(path, PREFIX + files.unique())
            with locks.hold(path, tick=turn.check):  # nobody takes it for one that was left
                _remove_left(path)
                os.mkdir(self.folder, 0o700)
                self._held.enter_context(locks.hold(self.folder))

    def has(self, name: str) -> bool:
        with self._lock:
            return name in self._staged

    def put_blob(self, name: str, blob: Descriptor, reader: Reader) -> None:
        """Stage what `reader` has, checked and durable, to become the file `name`. Raises Corrupt."""
        with self._file() as (temporary, descriptor):
            receive(blob, reader, lambda piece: write_all(descriptor, piece), self._turn)
        self._add(name, temporary)

    def put_stream(
        self, reader: Reader, describe: Callable[[], tuple[Digest, int]], name_of: Callable[[Digest], str]
    ) -> None:
        """The same for a blob whose digest `describe` tells once it was read."""
        buffer = memoryview(bytearray(limits.MIB))
        total = 0
        with self._file() as (temporary, descriptor):
            while count := reader.readinto(buffer):
                self._turn.check()
                write_all(descriptor, buffer[:count])
                total += count
            digest, size = describe()
            if size != total:
                raise Corrupt(f"blob {digest}", f"{total} bytes came of {size}", hint="copy it again")
        self._add(name_of(digest), temporary)

    def put_bytes(self, name: str, data: bytes) -> None:
        temporary = os.path.join(self.folder, files.unique())
        with told(self._subject):
            files.write_atomic(temporary, data)
        self._add(name, temporary)

    def publish(self) -> None:
        """All that was staged lies under its own name now, durable. Call it with the folder locked."""
        with self._lock, told(self._subject):
            folders = set()
            for name, temporary in self._staged.items():
                target = os.path.join(self._path, name)
                folders.add(os.path.dirname(target))
                os.makedirs(os.path.dirname(target), mode=0o755, exist_ok=True)
                os.rename(temporary, target)
            self._staged.clear()
            above = {os.path.dirname(folder) for folder in folders if folder != self._path}
            for folder in folders | above | {self._path}:
                files.sync_folder(folder)
            self._made = False

    def close(self) -> None:
        """What was not published is gone. Idempotent."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._staged.clear()
        files.remove_tree(self.folder)
        self._held.close()
        if self._made:
            with contextlib.suppress(OSError):  # somebody else's files are in it
                os.rmdir(self._path)

    @contextlib.contextmanager
    def _file(self) -> Iterator[tuple[str, int]]:
        """A new file's path and descriptor; durable at the end, gone where the `with` block raises."""
        temporary = os.path.join(self.folder, files.unique())
        with told(self._subject):
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _READABLE)
            try:
                yield temporary, descriptor
                os.fdatasync(descriptor)
            except BaseException:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(temporary)
                raise
            finally:
                os.close(descriptor)

    def _add(self, name: str, temporary: str) -> None:
        with self._lock:
            if not self._closed:
                self._staged[name] = temporary
                return
        raise Conflict(self._subject, "was closed while it was written to", hint="run the command again")


def blob_name(digest: Digest) -> str:
    """Where an OCI image layout has it (image-layout.md, "Blobs")."""
    return f"blobs/{digest.algorithm}/{digest.encoded}"


def write_all(descriptor: int, piece: bytes | memoryview) -> None:
    view = memoryview(piece)
    while view:
        view = view[os.write(descriptor, view) :]


def _make(path: str) -> bool:
    """`path` is a folder afterwards; whether it was made here."""
    if os.path.isdir(path):
        return False
    os.makedirs(path, mode=0o755, exist_ok=True)
    return True


def _remove_left(path: str) -> None:
    """What writers left that were killed: nobody holds its lock."""
    for name in os.listdir(path):
        if not name.startswith(PREFIX):
            continue
        folder = os.path.join(path, name)
        with contextlib.suppress(OSError), locks.attempt(folder) as alone:
            if alone and os.path.isdir(folder):
                files.remove_tree(folder)
