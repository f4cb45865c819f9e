"""A process by its name for this boot: its number and its start, since numbers are given again."""

from __future__ import annotations

import os


def start_time(pid: int) -> int:
    """When the process began, in ticks since boot: with its PID, its name for this boot. 0: there is none.

    (proc_pid_stat(5), field 22.)
    """
    try:
        with open(f"/proc/{pid}/stat", "rb") as stream:
            fields = stream.read().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return 0 if fields[0] in (b"Z", b"X") else int(fields[19])


def alive(pid: int, started: int) -> bool:
    """Whether this very process still runs (a zombie does not)."""
    return pid > 0 and started > 0 and start_time(pid) == started


def send(pid: int, started: int, number: int) -> None:
    """Send a signal to this very process; one that has ended is fine. Raises OSError as kill(2) does."""
    import signal  # 1 ms that `orlop run` need not pay

    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        if start_time(pid) == started:  # looked at after the open: it is the same one from here on
            signal.pidfd_send_signal(handle, number)
    except ProcessLookupError:
        pass
    finally:
        os.close(handle)
