"""Signals by name and number."""

from __future__ import annotations

from orlop.kit.errors import InvalidInput

_USUAL = {
    "SIGTERM": 15,
    "SIGKILL": 9,
    "SIGINT": 2,
    "SIGQUIT": 3,
    "SIGHUP": 1,
}  # without importing signal: 1 ms


def signal_number(name: int | str) -> int:
    """`9`, `"9"`, `"KILL"`, `"SIGKILL"`, `"RTMIN+3"` -> the number. Raises InvalidInput."""
    if name in _USUAL:
        return _USUAL[str(name)]
    import signal

    text = str(int(name) if isinstance(name, int) else name).upper().removeprefix("SIG")
    base, sign, offset = text.partition("+")
    if not sign:
        base, sign, offset = text.partition("-")
    if text.isdigit():
        found = int(text)
    elif base in ("RTMIN", "RTMAX") and (not sign or offset.isdigit()):
        start = int(signal.SIGRTMIN) if base == "RTMIN" else int(signal.SIGRTMAX)
        found = start + (int(offset or 0) if sign == "+" or not sign else -int(offset))
    else:
        member = getattr(signal, f"SIG{text}", None)
        found = int(member) if isinstance(member, signal.Signals) else 0
    if not 0 < found <= int(signal.SIGRTMAX):
        raise InvalidInput(f"signal {name}", "no such signal", hint="see: kill -l")
    return found
