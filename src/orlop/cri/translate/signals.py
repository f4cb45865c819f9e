"""The interface's signals and the kernel's."""

from __future__ import annotations

import signal

from orlop.cri.proto import cri_pb2 as pb
from orlop.kit.errors import InvalidInput


def name(asked: pb.Signal) -> str:
    """As `ContainerConfig.stop_signal` has it; "" where the image decides. Raises InvalidInput."""
    if asked == pb.RUNTIME_DEFAULT:
        return ""
    if asked not in pb.Signal.values():
        raise InvalidInput(f"stop_signal {asked}", "no such signal", hint="see the CRI")
    word = pb.Signal.Name(asked)
    base, plus, more = word.partition("PLUS")
    if plus:
        return f"{base}+{more}"
    base, minus, more = word.partition("MINUS")
    return str(int(signal.SIGRTMAX) - int(more)) if minus else word


def number_of(text: str) -> int:
    """`SIGTERM`, `SIGRTMIN+3` or `37` as the kernel's number; 0 where there is no such signal."""
    if text.isdecimal():
        return int(text)
    base, _, more = text.partition("+")
    found = getattr(signal, base, None)
    return int(found) + int(more or 0) if isinstance(found, signal.Signals) else 0


def message(text: str) -> pb.Signal:
    """The interface's name for a signal; RUNTIME_DEFAULT where it has none."""
    return _BY_NUMBER.get(number_of(text), pb.RUNTIME_DEFAULT)


def _by_number() -> dict[int, pb.Signal]:
    """The first of those that are the same signal (SIGABRT and SIGIOT)."""
    found: dict[int, pb.Signal] = {}
    for word in pb.Signal.keys():  # noqa: SIM118 - no mapping
        value: pb.Signal = getattr(pb, word)
        if value != pb.RUNTIME_DEFAULT:
            found.setdefault(number_of(name(value)), value)
    return found


_BY_NUMBER = _by_number()
