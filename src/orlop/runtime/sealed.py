"""The OCI runtime as a sealed copy in memory (memfd_create(2)), made once per process of ours.

A runtime must not be overwritten by the container that it starts (CVE-2019-5736). crun sees to that by making
itself unchangeable and executing itself a second time, at every verb: half of its 5 ms. Where it finds itself
to be sealed memory it goes on at once. So a process that starts it often keeps such a copy; the programs that
are executed from it are as unchangeable as before.
"""

from __future__ import annotations

import fcntl
import os
import threading

_F_ADD_SEALS = 1033
_SEALS = 0xF  # F_SEAL_SEAL, F_SEAL_SHRINK, F_SEAL_GROW, F_SEAL_WRITE
_LARGEST = 64 * 1024 * 1024
_copies: dict[str, tuple[tuple[int, ...], str]] = {}
_lock = threading.Lock()


def sealed(program: str) -> str:
    """A path of the sealed copy, for this process and its children; `program` itself where none can be made.

    It is copied anew when the program has changed. Only crun is known to gain by it. Under SELinux none is
    made: the domain hangs on the file.
    """
    if not os.path.basename(program).startswith("crun"):
        return program
    try:
        found = os.stat(program)
        state = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
        with _lock:
            known = _copies.get(program)
            if known is None or known[0] != state:
                known = _copies[program] = (state, _copy(program, found.st_size))
                # An older copy stays open: somebody may be about to execute it.
        return known[1]
    except OSError:
        return program


def _copy(program: str, size: int) -> str:
    if size > _LARGEST or os.path.exists("/sys/fs/selinux/enforce"):
        return program
    copy = os.memfd_create(os.path.basename(program), os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        with open(program, "rb") as source:
            if os.pread(source.fileno(), 4, 0) != b"\x7fELF":  # a script's interpreter could not open it
                os.close(copy)
                return program
            done = 0
            while done < size and (count := os.sendfile(copy, source.fileno(), done, size - done)):
                done += count
        os.fchmod(copy, 0o500)
        fcntl.fcntl(copy, _F_ADD_SEALS, _SEALS)
    except OSError:
        os.close(copy)
        raise
    return f"/proc/{os.getpid()}/fd/{copy}"
