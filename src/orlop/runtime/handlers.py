"""Runtime handlers: other OCI runtimes than the default one, by the names that a pod may ask for.

A container's bundle remembers with which runtime it was made, in the file `handler`, so that its later verbs
use the same one whatever the configuration says by then. The default one leaves no such file.
"""

from __future__ import annotations

import os

from orlop.kit.errors import InvalidInput
from orlop.kit.value import dataclass

_NAME = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-.")
_LONGEST = 63  # as Kubernetes bounds a handler (a DNS label)


@dataclass(frozen=True)
class Handler:
    """`root` is the folder of the runtime's state of its containers."""

    name: str
    program: str  # as configured: a name to look for, or an absolute path
    root: str


def configured(entries: tuple[str, ...], default: str, folder: str) -> dict[str, Handler]:
    """All handlers by name, the default one ("" and its program's name) included.

    `entries` are "name=program"; `folder` is that of all runtimes' states. Raises InvalidInput.
    """
    own = os.path.basename(default)
    standard = Handler(own, default, os.path.join(folder, own))
    found = {"": standard, own: standard}
    for entry in entries:
        name, sign, program = entry.partition("=")
        if not sign or not program or not name or len(name) > _LONGEST or not _NAME.issuperset(name):
            raise InvalidInput(
                f"[runtime] handlers: {entry!r}", "is no handler", hint='write it as "name=/path/of/runtime"'
            )
        found[name] = Handler(name, program, os.path.join(folder, f"handler-{name}"))
    return found


def remember(bundle: str, handler: Handler) -> None:
    """Write down that the container of this bundle is made with `handler`."""
    with open(f"{bundle}/handler", "w", encoding="utf-8") as stream:
        stream.write(f"{handler.name}\n{handler.program}\n{handler.root}\n")


def remembered(bundle: str) -> Handler | None:
    """With which handler it was made; None for the default one."""
    try:
        with open(f"{bundle}/handler", encoding="utf-8", errors="replace") as stream:
            lines = stream.read(3 * 4096).splitlines()
    except OSError:
        return None
    return Handler(*lines) if len(lines) == 3 else None
