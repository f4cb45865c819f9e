"""Measuring: candidates take turns in one run, so that whatever else the machine does hits all of them."""

from __future__ import annotations

import contextlib
import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from orlop.kit import kernel, process

_LOOK = 0.01  # seconds between two looks at a program's memory


@dataclass(frozen=True)
class Sample:
    """One measurement: seconds, and bytes of memory at the most."""

    seconds: float
    memory: int


@dataclass(frozen=True)
class Timing:
    """Seconds of one candidate over all rounds; `memory` is the most that a round took, 0 where unknown."""

    name: str
    seconds: tuple[float, ...]
    memory: int = 0

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def best(self) -> float:
        return min(self.seconds)


def in_turns(
    candidates: Mapping[str, Callable[[], float | Sample]], *, rounds: int, warm: int = 1
) -> list[Timing]:
    """Ask each candidate for its seconds, `rounds` times, in turn; the first `warm` rounds do not count."""
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    memory = dict.fromkeys(candidates, 0)
    for number in range(rounds + warm):
        for name, candidate in candidates.items():
            taken = candidate()
            if isinstance(taken, Sample):
                memory[name] = max(memory[name], taken.memory)
                taken = taken.seconds
            if number >= warm:
                seconds[name].append(taken)
    return [Timing(name, tuple(taken), memory[name]) for name, taken in seconds.items()]


def first_line(argv: Sequence[str], env: Mapping[str, str]) -> float:
    """Seconds from starting a program until the first line of its output is here; waits for its end."""
    read, write = os.pipe()
    started = time.perf_counter()
    child = process.spawn(argv, env=env, stdout=write, stderr=2)
    os.close(write)
    text = b""
    taken = 0.0
    while chunk := os.read(read, 4096):
        text += chunk
        if not taken and b"\n" in text:
            taken = time.perf_counter() - started
    os.close(read)
    status = child.wait(60)
    if status or not taken:
        raise RuntimeError(f"{process.printable(argv)}: status {status}, output {text!r}")
    return taken


def whole(argv: Sequence[str], env: Mapping[str, str], *, timeout: float = 600) -> float:
    """Seconds that a program takes from start to end."""
    started = time.perf_counter()
    process.run(argv, env=env, timeout=timeout)
    return time.perf_counter() - started


def sampled(argv: Sequence[str], env: Mapping[str, str]) -> Sample:
    """As `whole`, with the most memory that the program, or a child of it, had at once.

    They are looked at while they run: what the kernel tells at the end (wait4(2)) counts our own memory too,
    from which the program was forked.
    """
    peak = 0
    started = time.perf_counter()
    child = process.spawn(argv, env=env, stderr=2)
    while child.poll() is None:
        for pid in (child.pid, *_children(child.pid)):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it ended meanwhile
                peak = max(peak, high_water(pid))
        time.sleep(_LOOK)
    taken = time.perf_counter() - started
    if child.poll():
        raise RuntimeError(f"{process.printable(argv)}: status {child.poll()}")
    return Sample(taken, peak)


def _children(pid: int) -> list[int]:
    try:
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as stream:
            return [int(word) for word in stream.read().split()]
    except OSError:
        return []


def high_water(pid: int) -> int:
    """Bytes of memory that the process had at the most since `reset_high_water` (proc(5), VmHWM)."""
    with open(f"/proc/{pid}/status", encoding="ascii") as stream:
        for line in stream:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return 0


def reset_high_water(pid: int) -> None:
    with open(f"/proc/{pid}/clear_refs", "w", encoding="ascii") as stream:
        stream.write("5")


@contextlib.contextmanager
def tmpfs(folder: Path) -> Iterator[Path]:
    """A fresh tmpfs at `folder`, gone afterwards with all that is mounted below it."""
    folder.mkdir(parents=True)
    kernel.mount("tmpfs", str(folder), "tmpfs")
    kernel.mount("", str(folder), flags=kernel.MS_PRIVATE)
    try:
        yield folder
    finally:
        kernel.umount(str(folder), kernel.MNT_DETACH)
