"""What clients have sent so far of blobs: files below the store's uploads/, one each, appended to.

Nothing else is needed to go on after a restart, here or in another process: the offset is the file's size,
its name says for which repository it is, its time when it was last touched. The digest so far is remembered
by the process that computed it; where it is not, the file is read once more at the end.
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import errno
import fcntl
import hashlib
import os
import threading
import time
import uuid
from collections import OrderedDict
from collections.abc import Iterator
from http import HTTPStatus
from typing import Protocol

from orlop.image.digest import Digest
from orlop.kit import files, limits
from orlop.registry.errors import Refused
from orlop.registry.http import too_large
from orlop.store.layout import Layout
from orlop.store.repositories import Repositories

_READ = 1 * limits.MIB
_PART = 8 * limits.MIB
_VECTOR = 1000  # buffers of one writev(2)
_SYNC_FILE_RANGE_WRITE = 2
_libc = ctypes.CDLL(None, use_errno=True)


class Hasher(Protocol):
    """hashlib's."""

    def update(self, data: bytes | memoryview, /) -> None: ...
    def hexdigest(self) -> str: ...


@dataclasses.dataclass
class State:
    """What is known of an upload's digest: of its first `hashed` bytes, when its time was `stamp`."""

    stamp: int
    algorithm: str
    hasher: Hasher
    hashed: int


class Upload:
    """One upload, held by one request. For one thread at a time."""

    def __init__(self, path: str, file: int) -> None:
        self.path = path
        self._file = file
        now = os.fstat(file)
        self.size = now.st_size
        self._stamp = now.st_mtime_ns
        self._algorithm = ""
        self._hasher: Hasher = hashlib.sha256()
        self._hashed = -1  # bytes that the hasher had; -1: it is of no use

    def hash_with(self, algorithm: str) -> None:
        """To be said while it is empty: from now on this is the digest that is computed."""
        if self.size == 0:
            self._algorithm, self._hasher, self._hashed = algorithm, hashlib.new(algorithm), 0

    def know(self, state: State) -> None:
        """Take over what the last holder knew, unless somebody has had the file since."""
        if (state.stamp, state.hashed) == (self._stamp, self.size):
            self._algorithm, self._hasher, self._hashed = state.algorithm, state.hasher, state.hashed

    def let_go(self) -> State:
        """Close it. Its time is made one that no other holder leaves."""
        stamp = time.time_ns()
        os.utime(self._file, ns=(stamp, stamp))
        self.close()
        return State(stamp, self._algorithm, self._hasher, self._hashed)

    def append(self, pieces: list[bytes]) -> None:
        """Raises OSError, and Refused where it grows beyond limits.REGISTRY_BLOB."""
        before = self.size
        after = before + sum(map(len, pieces))
        if after > limits.REGISTRY_BLOB:
            raise too_large(limits.REGISTRY_BLOB)
        for first in range(0, len(pieces), _VECTOR):
            self._write([memoryview(piece) for piece in pieces[first : first + _VECTOR]])
        if self._hashed == before:
            for piece in pieces:
                self._hasher.update(piece)
            self._hashed = after
        start, end = before // _PART, after // _PART
        if end > start:  # the disk begins, so that the end is short
            offset, length = ctypes.c_int64(start * _PART), ctypes.c_int64((end - start) * _PART)
            _libc.sync_file_range(self._file, offset, length, _SYNC_FILE_RANGE_WRITE)

    def _write(self, views: list[memoryview]) -> None:
        while views:
            count = os.pwritev(self._file, views, self.size)
            self.size += count
            while views and count >= len(views[0]):
                count -= len(views.pop(0))
            if views:
                views[0] = views[0][count:]

    def cut(self, size: int) -> None:
        """Back to `size` bytes: what came behind them was not what it was said to be."""
        os.ftruncate(self._file, size)
        self.size = size
        self._hashed = -1

    def digest(self, algorithm: str) -> Digest:
        """Of all of it; the file is read where that was not computed while it came."""
        if algorithm != self._algorithm or self._hashed != self.size:
            self._algorithm, self._hasher, self._hashed = algorithm, hashlib.new(algorithm), 0
            buffer = bytearray(_READ)
            view = memoryview(buffer)
            while count := os.preadv(self._file, [view], self._hashed):
                self._hasher.update(view[:count])
                self._hashed += count
        return Digest(f"{algorithm}:{self._hasher.hexdigest()}")

    def close(self) -> None:
        os.close(self._file)


class Uploads:
    """All uploads of one store. Blocking; safe for many threads and processes."""

    def __init__(self, layout: Layout, repositories: Repositories) -> None:
        self._folder = layout.uploads
        self._repositories = repositories
        self._states: OrderedDict[str, State] = OrderedDict()
        self._lock = threading.Lock()

    def start(self, repository: str, algorithm: str) -> str:
        """Begin one; returns its ID."""
        identity = str(uuid.uuid4())
        path = self._path(repository, identity)
        try:
            file = _create(path)
        except FileNotFoundError:
            files.make_folder(self._folder)
            file = _create(path)
        upload = Upload(path, file)
        upload.hash_with(algorithm)
        self.release(upload)
        return identity

    def size(self, repository: str, identity: str) -> int:
        """Bytes so far. Raises Refused (BLOB_UPLOAD_UNKNOWN)."""
        try:
            return os.stat(self._path(repository, identity), follow_symlinks=False).st_size
        except FileNotFoundError:
            raise unknown(identity) from None

    def hold(self, repository: str, identity: str) -> Upload:
        """Have it alone until `release`. Raises Refused (BLOB_UPLOAD_UNKNOWN, 409 where another has it)."""
        path = self._path(repository, identity)
        try:
            file = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            raise unknown(identity) from None
        try:
            _lock(file)
            if os.fstat(file).st_nlink == 0:  # finished or cancelled while we waited
                raise unknown(identity)
        except BaseException:
            os.close(file)
            raise
        upload = Upload(path, file)
        with self._lock:
            state = self._states.pop(path, None)
        if state is not None:
            upload.know(state)
        os.utime(file)
        return upload

    def release(self, upload: Upload) -> None:
        """Others may have it; what is known of its digest is remembered."""
        state = upload.let_go()
        with self._lock:
            self._states[upload.path] = state
            while len(self._states) > limits.REGISTRY_STATES:
                self._states.popitem(last=False)

    def discard(self, upload: Upload) -> None:
        """It is gone."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(upload.path)
        upload.close()

    def finish(self, repository: str, upload: Upload, digest: Digest) -> None:
        """It becomes the repository's blob, durably; or it is not what was said, and gone.

        Raises Refused (DIGEST_INVALID).
        """
        try:
            found = upload.digest(digest.algorithm)
            if found != digest:
                details = ({"digest": digest, "computed": found, "size": upload.size},)
                raise Refused("DIGEST_INVALID", "is not the digest of what was sent", details=details)
            self._repositories.add_blob(repository, digest, upload.path, upload.size)
        finally:
            self.discard(upload)

    def cancel(self, repository: str, identity: str) -> None:
        """Raises Refused (BLOB_UPLOAD_UNKNOWN)."""
        path = self._path(repository, identity)
        try:
            os.unlink(path)
        except FileNotFoundError:
            raise unknown(identity) from None
        with self._lock:
            self._states.pop(path, None)

    def collect(self, age: float = limits.UPLOAD_AGE) -> int:
        """Remove those that nobody has touched for `age` seconds; how many."""
        count = 0
        for path in _old(self._folder, age):
            with contextlib.suppress(FileNotFoundError):
                file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    os.unlink(path)
                    count += 1
                except BlockingIOError:
                    pass  # it goes on just now
                finally:
                    os.close(file)
        return count

    def _path(self, repository: str, identity: str) -> str:
        return f"{self._folder}/{identity}.{hashlib.sha256(repository.encode()).hexdigest()[:32]}"


def unknown(identity: str) -> Refused:
    return Refused("BLOB_UPLOAD_UNKNOWN", "no such upload in this repository", details=({"id": identity},))


def no_room(error: OSError) -> bool:
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def _create(path: str) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)


def _lock(file: int) -> None:
    deadline = time.monotonic() + limits.REGISTRY_UPLOAD_WAIT
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise Refused(
                    *("BLOB_UPLOAD_INVALID", "another request is sending to this upload"),
                    status=HTTPStatus.CONFLICT,
                ) from None
            time.sleep(0.02)
        else:
            return


def _old(folder: str, age: float) -> Iterator[str]:
    limit = time.time() - age
    for name in os.listdir(folder) if os.path.isdir(folder) else ():
        with contextlib.suppress(FileNotFoundError):
            if os.stat(f"{folder}/{name}", follow_symlinks=False).st_mtime <= limit:
                yield f"{folder}/{name}"
