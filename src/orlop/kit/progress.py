"""Progress of long work, as a port: libraries report to it, the command line decides what a person sees."""

from __future__ import annotations

from typing import Protocol


class Meter(Protocol):
    """One piece of work under way. Contract: callable from any thread; never raises."""

    def advance(self, amount: int) -> None: ...

    def note(self, text: str) -> None:
        """What it does now, in a word or two (`extracting`, `already there`)."""

    def done(self) -> None: ...


class Progress(Protocol):
    """Where work announces itself."""

    def meter(self, label: str, total: int | None) -> Meter:
        """A new piece of work: `total` in bytes where known."""


class QuietMeter:
    def advance(self, amount: int) -> None:
        pass

    def note(self, text: str) -> None:
        pass

    def done(self) -> None:
        pass


class Quiet:
    """No terminal, nobody watches."""

    def meter(self, label: str, total: int | None) -> Meter:
        return QuietMeter()
