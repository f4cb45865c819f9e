"""The same verb on several objects: all are tried, every failure is told, the first one is the exit code."""

from __future__ import annotations

import threading

from orlop.kit.errors import OrlopError

TYPE_CHECKING = False  # as typing's
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from orlop.cli.context import Context

_AT_ONCE = 16


def each(context: Context, names: Sequence[str], act: Callable[[str], None], *, at_once: bool = False) -> int:
    """Call `act` with every name (`at_once`: in threads, so that waits do not add up); the exit code."""
    failures: dict[str, OrlopError] = {}
    unforeseen: list[BaseException] = []

    def tried(name: str) -> None:
        try:
            act(name)
        except OrlopError as error:
            failures[name] = error
        except BaseException as error:
            unforeseen.append(error)

    width = _AT_ONCE if at_once else 1
    for start in range(0, len(names), width):
        batch = names[start : start + width]
        threads = [threading.Thread(target=tried, args=(name,)) for name in batch[1:]]
        for thread in threads:
            thread.start()
        tried(batch[0])
        for thread in threads:
            thread.join()
        if unforeseen:
            raise unforeseen[0]
    return _told(context, [failures[name] for name in names if name in failures])


def _told(context: Context, failures: list[OrlopError]) -> int:
    if not failures:
        return 0
    from orlop.cli.errors import show

    for error in failures:
        show(error, as_json=context.json)
    return failures[0].exit_code
