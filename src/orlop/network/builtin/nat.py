"""iptables' nat table: read by one iptables-save, changed by one iptables-restore, all or nothing."""

from __future__ import annotations

import contextlib
import time

from orlop.kit import locks, process
from orlop.kit.errors import NotFound, ProcessFailed

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

_LOCK = "/run/lock/orlop/nat.lock"
_ATTEMPTS = 5


class Table:
    """The table as it was read, in iptables-save's words."""

    def __init__(self, lines: Sequence[str]) -> None:
        self.rules = frozenset(line for line in lines if line.startswith("-A "))
        self._ordered = [line for line in lines if line.startswith("-A ")]
        self._chains = frozenset(line[1:].split(" ")[0] for line in lines if line.startswith(":"))

    def has(self, chain: str) -> bool:
        return chain in self._chains

    def leading_to(self, chain: str) -> list[str]:
        """The rules that jump there."""
        return [line for line in self._ordered if line.endswith(f" -j {chain}")]

    def of(self, chain: str) -> list[str]:
        return [line for line in self._ordered if line.startswith(f"-A {chain} ")]


def listed(*, six: bool) -> Table:
    """The table of one family. Raises NotFound without iptables, ProcessFailed where the kernel has none."""
    program = "ip6tables-save" if six else "iptables-save"
    return Table(process.run((program, "-t", "nat"), hint="see: iptables-save").text.splitlines())


def change(changes: Callable[[Table], Sequence[str]], *, six: bool) -> None:
    """Apply the lines that `changes` wants of the present table; none: nothing is run.

    They are asked for again where somebody else changed the table meanwhile. Raises NotFound, ProcessFailed.
    """
    with _alone() as lock:
        for attempt in range(_ATTEMPTS):
            lines = changes(listed(six=six))
            if not lines:
                return
            text = "*nat\n" + "\n".join(lines) + "\nCOMMIT\n"
            argv = ("ip6tables-restore" if six else "iptables-restore", "--noflush", "--wait=10")
            try:
                # It keeps the lock if we are killed: whoever undoes the change must not overtake it.
                process.run(argv, stdin=text.encode(), pass_fds=(lock,), hint="see: iptables-save -t nat")
            except ProcessFailed:
                if attempt + 1 == _ATTEMPTS:
                    raise
                time.sleep(0.01 * (attempt + 1))
            else:
                return


def remove_chain(chain: str, *, six: bool) -> None:
    """The chain and all jumps to it are gone; a machine without iptables has none."""
    with contextlib.suppress(NotFound):
        change(lambda table: removal(table, chain), six=six)


def removal(table: Table, chain: str) -> list[str]:
    if not table.has(chain):
        return []
    jumps = ["-D" + line.removeprefix("-A") for line in table.leading_to(chain)]
    return [*jumps, f"-F {chain}", f"-X {chain}"]


def quoted(comment: str) -> str:
    """A comment as iptables-save writes it."""
    escaped = comment.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"' if not comment.replace("-", "").isalnum() else comment


@contextlib.contextmanager
def _alone() -> Iterator[int]:
    with locks.hold(_LOCK) as descriptor:
        yield descriptor
