"""Which files of a root a command opens, as the kernel says (fanotify(7) on a mount)."""

from __future__ import annotations

import contextlib
import ctypes
import os
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

_NOTIFY = 0x0 | 0x1  # FAN_CLASS_NOTIF, FAN_CLOEXEC
_ADD_MOUNT = 0x1 | 0x10
_OPEN = 0x20 | 0x1000  # FAN_OPEN, FAN_OPEN_EXEC
_EVENT = struct.Struct("=IBBHQii")

_libc = ctypes.CDLL(None, use_errno=True)


@contextlib.contextmanager
def touched(mount: Path) -> Iterator[set[str]]:
    """Fills the set with paths below `mount`, which is a mount point, whole at the block's end."""
    found: set[str] = set()
    group = _libc.fanotify_init(_NOTIFY, os.O_RDONLY)
    if group < 0 or _libc.fanotify_mark(group, _ADD_MOUNT, ctypes.c_uint64(_OPEN), -100, os.fsencode(mount)):
        raise OSError(ctypes.get_errno(), "fanotify")
    os.set_blocking(group, False)
    ended = threading.Event()
    reader = threading.Thread(target=_read, args=(group, str(mount), found, ended))
    reader.start()
    try:
        yield found
    finally:
        ended.set()
        reader.join()
        os.close(group)


def _read(group: int, base: str, found: set[str], ended: threading.Event) -> None:
    while True:
        last = ended.is_set()
        try:
            data = os.read(group, 65536)
        except BlockingIOError:
            if last:
                return
            ended.wait(0.005)
            continue
        at = 0
        while at < len(data):
            length, _, _, _, _, file, _ = _EVENT.unpack_from(data, at)
            if file >= 0:
                path = os.readlink(f"/proc/self/fd/{file}")
                if os.path.isfile(path) and path.startswith(f"{base}/"):
                    found.add(path[len(base) + 1 :])
                os.close(file)
            at += length
