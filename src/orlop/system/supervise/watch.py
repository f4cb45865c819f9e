"""New files in a folder as events on the loop (inotify(7)), for exits that conmon writes down."""

from __future__ import annotations

import asyncio
import os
import struct
from collections.abc import Callable

from orlop.runtime import exits

_IN_Q_OVERFLOW = 0x4000
_EVENT = struct.Struct("iIII")
_BUFFER = 64 * 1024


class Watch:
    """Calls `changed(name)` on the loop for each file that appears in `folder`; "" where events were lost."""

    def __init__(self, folder: str, changed: Callable[[str], None]) -> None:
        self._changed = changed
        self._fd = exits.watch(folder)
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
