"""CrashLoopBackOff as the kubelet has it: at once, 10 s, 20 s, ... 300 s; forgotten after 10 good minutes."""

from __future__ import annotations

from orlop.kit import limits


def after_exit(wait: float, started: float, finished: float) -> tuple[float, float]:
    """A container that had the wait `wait` ended: (earliest next start, the wait it has from then on)."""
    if started and finished - started >= limits.BACKOFF_RESET:
        wait = 0.0
    return finished + wait, longer(wait)


def longer(wait: float) -> float:
    """The wait that follows `wait` after one more failure."""
    return min(max(2 * wait, limits.BACKOFF_FIRST), limits.BACKOFF_MAX)
