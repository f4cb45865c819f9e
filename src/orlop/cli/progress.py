"""What a person sees of long work: bars on standard error where that is a terminal, nothing elsewhere."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from orlop.kit.progress import Meter, Progress, Quiet

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import TaskID


@contextlib.contextmanager
def shown(*, quiet: bool = False) -> Iterator[Progress]:
    """A Progress for the `with` block; the bars are gone when it ends."""
    if quiet or not sys.stderr.isatty():
        yield Quiet()
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TransferSpeedColumn
    from rich.progress import Progress as Bars

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        DownloadColumn(),
        TransferSpeedColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Bars(*columns, console=Console(stderr=True), transient=True) as bars:
        yield _Shown(bars)


class _Shown:
    def __init__(self, bars: Bars) -> None:
        self._bars = bars

    def meter(self, label: str, total: int | None) -> Meter:
        from rich.markup import escape

        return _Bar(self._bars, self._bars.add_task(escape(label), total=total, note=""))


class _Bar:
    """rich's Progress has a lock of its own, so this may be called from any thread."""

    def __init__(self, bars: Bars, task: TaskID) -> None:
        self._bars = bars
        self._task = task

    def advance(self, amount: int) -> None:
        self._bars.advance(self._task, amount)

    def note(self, text: str) -> None:
        from rich.markup import escape

        self._bars.update(self._task, note=escape(text))

    def done(self) -> None:
        self._bars.remove_task(self._task)
