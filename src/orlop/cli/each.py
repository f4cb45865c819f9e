"""The same verb on several objects: all are tried, every failure is told, the first one is the exit code."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from orlop.cli.context import Context
from orlop.kit.errors import OrlopError


def each(context: Context, names: Iterable[str], act: Callable[[str], None]) -> int:
    """Call `act` with every name; returns the exit code."""
    code = 0
    for name in names:
        try:
            act(name)
        except OrlopError as error:
            from orlop.cli.errors import show

            show(error, as_json=context.json)
            code = code or error.exit_code
    return code
