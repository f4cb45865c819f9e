"""New files in a folder as events (inotify(7)), for exits that conmon writes down."""

from __future__ import annotations

import asyncio
import ctypes
import os
import struct
from collections.abc import Callable

_IN_CLOSE_WRITE = 0x8
_IN_MOVED_TO = 0x80
_IN_CREATE = 0x100
_IN_Q_OVERFLOW = 0x4000
_EVENT = struct.Struct("iIII")
_BUFFER = 64 * 1024

_libc = ctypes.CDLL(None, use_errno=True)


class Watch:
    """Calls `changed(name)` on the loop for each file that appears in `folder`; "" where events were lost."""

    def __init__(self, folder: str, changed: Callable[[str], None]) -> None:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        self._changed = changed
        self._fd = _checked(_libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC), folder)
        try:
            mask = ctypes.c_uint32(_IN_CLOSE_WRITE | _IN_MOVED_TO | _IN_CREATE)
            _checked(_libc.inotify_add_watch(self._fd, os.fsencode(folder), mask), folder)
        except OSError:
            os.close(self._fd)
            raise
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._fd, self._read)

    def close(self) -> None:
        self._loop.remove_reader(self._fd)
        os.close(self._fd)

    def _read(self) -> None:
        try:
            data = os.read(self._fd, _BUFFER)
        except BlockingIOError:
            return
        names: dict[str, None] = {}
        offset = 0
        while offset < len(data):
            _, mask, _, length = _EVENT.unpack_from(data, offset)
            raw = data[offset + _EVENT.size : offset + _EVENT.size + length]
            offset += _EVENT.size + length
            names["" if mask & _IN_Q_OVERFLOW else os.fsdecode(raw.rstrip(b"\0"))] = None
        for name in names:
            self._changed(name)


def _checked(result: int, path: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"inotify: {os.strerror(number)}", path)
    return int(result)
