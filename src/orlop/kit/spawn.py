"""posix_spawn(3) for a process with many threads: they go on while the child begins.

`os.posix_spawn` keeps Python's lock until the child has executed its program, 1 to 2 ms in which no other
thread of a daemon runs; and it has no word for a working folder. So the C library's function is called here.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Mapping, Sequence

_SETSIGDEF, _SETSID = 0x04, 0x80
_OPAQUE = 512  # bytes, more than any C library's attributes and actions have
#: SIGPIPE and SIGXFSZ, which Python ignores and a child would inherit ignored.
_DEFAULT_SIGNALS = (13, 25)
_libc = ctypes.CDLL(None)
_attributes: dict[bool, ctypes.Array[ctypes.c_char]] = {}
_lock = threading.Lock()


def spawn(
    program: str,
    argv: Sequence[str],
    env: Mapping[str, str],
    *,
    streams: Sequence[int | None],
    passed: Sequence[int],
    session: bool,
    cwd: str,
) -> int:
    """The PID. `streams` become 0, 1, ... (None: /dev/null), `passed` keep their numbers. Raises OSError."""
    actions = ctypes.create_string_buffer(_OPAQUE)
    _check(_libc.posix_spawn_file_actions_init(actions))
    try:
        for number, descriptor in enumerate(streams):
            if descriptor is None:
                null = os.devnull.encode()
                _check(_libc.posix_spawn_file_actions_addopen(actions, number, null, os.O_RDWR, 0))
            else:
                _check(_libc.posix_spawn_file_actions_adddup2(actions, descriptor, number))
        for descriptor in passed:  # dup2 of a descriptor to itself makes it survive the exec
            _check(_libc.posix_spawn_file_actions_adddup2(actions, descriptor, descriptor))
        if cwd:
            _check(_libc.posix_spawn_file_actions_addchdir_np(actions, os.fsencode(cwd)))
        pid = ctypes.c_int()
        words = _vector([os.fsencode(word) for word in argv])
        variables = _vector([os.fsencode(f"{key}={value}") for key, value in env.items()])
        attributes = _with(session)
        _check(
            _libc.posix_spawn(ctypes.byref(pid), os.fsencode(program), actions, attributes, words, variables)
        )
    finally:
        _libc.posix_spawn_file_actions_destroy(actions)
    return pid.value


def _vector(words: list[bytes]) -> ctypes.Array[ctypes.c_char_p]:
    if any(b"\0" in word for word in words):
        raise ValueError("embedded null byte")
    return (ctypes.c_char_p * (len(words) + 1))(*words, None)


def _with(session: bool) -> ctypes.Array[ctypes.c_char]:
    """Attributes, made once."""
    with _lock:
        known = _attributes.get(session)
        if known is None:
            known = ctypes.create_string_buffer(_OPAQUE)
            signals = ctypes.create_string_buffer(_OPAQUE)
            _check(_libc.posix_spawnattr_init(known))
            _libc.sigemptyset(signals)
            for number in _DEFAULT_SIGNALS:
                _libc.sigaddset(signals, number)
            _check(_libc.posix_spawnattr_setsigdefault(known, signals))
            flags = ctypes.c_short(_SETSIGDEF | (_SETSID if session else 0))
            _check(_libc.posix_spawnattr_setflags(known, flags))
            _attributes[session] = known
        return known


def _check(number: int) -> None:
    if number:
        raise OSError(number, os.strerror(number))
