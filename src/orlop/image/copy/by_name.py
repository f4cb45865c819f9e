"""A copy from name to name: what `orlop image copy` does, for Python.

from orlop.image.copy.by_name import copy_by_name
from orlop.image.copy.options import CopyOptions

copy_by_name("docker://docker.io/library/busybox", "oci:images:busybox", CopyOptions(all_platforms=True))
"""

from __future__ import annotations

from dataclasses import replace

from orlop.image.copy.engine import copy
from orlop.image.copy.options import Copied, CopyOptions
from orlop.image.policy.gate import Gate
from orlop.image.transport.locate import Location, parse
from orlop.image.transport.open import OpenOptions, Transports
from orlop.kit.progress import Progress, Quiet

_DEFAULTS = CopyOptions()
_QUIET = Quiet()


def copy_by_name(
    source: str | Location,
    destination: str | Location,
    options: CopyOptions = _DEFAULTS,
    *,
    reading: OpenOptions | None = None,
    writing: OpenOptions | None = None,
    transports: Transports | None = None,
    gate: Gate | None = None,
    progress: Progress = _QUIET,
) -> Copied:
    """Copy what `source` names to what `destination` names (TRANSPORT:NAME; docker:// where it is left out).

    `reading` and `writing` are about the two sides (credentials, TLS); `reading.cancellation` ends the copy
    from another thread. `transports` knows more than registries and files (a store). `gate` is what the
    policy requires of the source; without one it is not asked. Blocks. Raises as `engine.copy`, InvalidInput
    for a name, Denied for a blocked registry.
    """
    origin = source if isinstance(source, Location) else parse(source)
    goal = destination if isinstance(destination, Location) else parse(destination)
    known = transports or Transports()
    reading = reading or OpenOptions()
    writing = replace(writing or OpenOptions(), cancellation=reading.cancellation, origin=origin)
    opened = known.source(origin, reading)
    try:
        target = known.destination(goal, writing)
        try:
            return copy(
                opened,
                target,
                options,
                names=(str(origin), str(goal)),
                cancellation=reading.cancellation,
                progress=progress,
                gate=gate,
            )
        finally:
            target.close()
    finally:
        opened.close()
