"""Let the disk work while the rest of a layer comes, so that making it durable takes no time at the end.

Large files: sync_file_range(2) on each part that is complete. Small ones: syncfs(2) in a thread, again and
again; one call for many files, as fsync(2) of each would cost a commit of the journal each.
"""

from __future__ import annotations

import ctypes
import os
import threading

from orlop.kit import kernel, limits

_PART = 8 * limits.MIB  # of one file
_ALL = 96 * limits.MIB  # of all files together
_SYNC_FILE_RANGE_WRITE = 2

_libc = ctypes.CDLL(None, use_errno=True)


def start_writing(file: int, before: int, count: int) -> bool:
    """`count` bytes went to `file` at `before`: the disk begins on parts that are complete; is one?"""
    start, end = before // _PART, (before + count) // _PART
    if end > start:
        offset, length = ctypes.c_int64(start * _PART), ctypes.c_int64((end - start) * _PART)
        _libc.sync_file_range(file, offset, length, _SYNC_FILE_RANGE_WRITE)  # a hint: may fail
    return end > start


class WriteBack:
    """The file system that `folder` is on. Call `finish` for success, `close` in any case."""

    def __init__(self, folder: str) -> None:
        self._folder = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._waiting = 0  # bytes of small files since the thread was last woken
        self._wake = threading.Event()
        self._ended = False
        self._failure: OSError | None = None
        self._thread: threading.Thread | None = None

    def written(self, file: int, before: int, count: int) -> None:
        """`count` bytes went to `file` at `before`."""
        if start_writing(file, before, count):
            return
        if not before:
            self._waiting += count
            if self._waiting >= _ALL:
                self._waiting = 0
                self._begin()

    def finish(self) -> None:
        """Everything written is durable when this returns. Raises OSError where it cannot be."""
        self._end()
        if self._failure is not None:
            raise self._failure
        kernel.syncfs(self._folder)

    def close(self) -> None:
        self._end()
        os.close(self._folder)

    def _begin(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="write-back", daemon=True)
            self._thread.start()
        self._wake.set()

    def _run(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            if self._ended:
                return
            try:
                kernel.syncfs(self._folder)
            except OSError as error:  # the kernel tells a failure once only: keep it for `finish`
                self._failure = error
                return

    def _end(self) -> None:
        if self._thread is not None:
            self._ended = True
            self._wake.set()
            self._thread.join()
            self._thread = None
