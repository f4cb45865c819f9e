"""Sync: copy one image after the other, but what is there already."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace

from orlop.image.copy.engine import copy
from orlop.image.copy.options import CopyOptions
from orlop.image.copy.tree import Reading
from orlop.image.digest import Digest
from orlop.image.policy.gate import Gate
from orlop.image.sync.plan import Task
from orlop.image.transport.locate import Location
from orlop.image.transport.open import OpenOptions, Transports
from orlop.image.transport.source import Source
from orlop.kit.errors import Cancelled, Corrupt, Denied, NotFound, OrlopError
from orlop.kit.progress import Progress, Quiet
from orlop.kit.tasks import Cancellation

_log = logging.getLogger(__name__)
COPIED, THERE, PLANNED, FAILED = "copied", "there", "planned", "failed"
Gates = Callable[[Location], Gate | None]


@dataclass(frozen=True)
class Synced:
    """One image. `action` is one of COPIED, THERE, PLANNED, FAILED; `digest` "" where it is not known.

    `sent` counts blobs, `bytes` what was sent of them; `error` is why it failed.
    """

    source: str
    destination: str
    action: str
    digest: str = ""
    sent: int = 0
    bytes: int = 0
    error: OrlopError | None = None


class Sync:
    """`options` are of every copy, `writing` of the destination, `gates` what the policy wants of a source.

    For one thread; another may set the cancellation of `writing`.
    """

    def __init__(
        self,
        transports: Transports,
        options: CopyOptions,
        writing: OpenOptions,
        *,
        gates: Gates = lambda _: None,
        progress: Progress | None = None,
    ) -> None:
        self._transports = transports
        self._options = options
        self._writing = writing
        self._gates = gates
        self._progress = progress or Quiet()

    def run(self, tasks: list[Task], tell: Callable[[Synced], None], *, keep_going: bool = False) -> None:
        """Every task; `tell` hears of each as it ends. Raises the first failure, or with `keep_going` none:
        failures are told then."""
        for task in tasks:
            self._writing.cancellation.check()
            try:
                tell(self._one(task))
            except Cancelled:
                raise
            except OrlopError as error:
                if not keep_going:
                    raise
                tell(Synced(str(task.source.location), str(task.destination), FAILED, error=error))

    def _one(self, task: Task) -> Synced:
        """Each copy has a cancellation of its own: the engine sets it when a copy fails."""
        options = self._options
        if task.source.exact:  # what a digest names is taken whole
            options = replace(options, all_platforms=True, platforms=())
        gate = self._gates(task.source.location)
        if self._may_be_there(options) and gate is None:
            digest = self._there(task, options)
            if digest is not None:
                return Synced(str(task.source.location), str(task.destination), THERE, digest)
        return self._copied(task, options, gate)

    def _copied(self, task: Task, options: CopyOptions, gate: Gate | None) -> Synced:
        cancellation = Cancellation()
        source = self._transports.source(
            task.source.location, replace(task.source.options, cancellation=cancellation)
        )
        try:
            destination = self._transports.destination(
                task.destination,
                replace(self._writing, cancellation=cancellation, origin=task.source.location),
            )
            try:
                done = copy(
                    source,
                    destination,
                    options,
                    names=(str(task.source.location), str(task.destination)),
                    cancellation=cancellation,
                    progress=self._progress,
                    gate=gate,
                )
            finally:
                destination.close()
        finally:
            source.close()
        return Synced(done.source, done.destination, COPIED, done.digest, done.sent, done.bytes)

    def _may_be_there(self, options: CopyOptions) -> bool:
        """Equal digests say enough: nothing is to be converted, nor anything attached to be brought along."""
        return options.compression is None and not options.format and not options.signatures

    def _there(self, task: Task, options: CopyOptions) -> Digest | None:
        """The digest that both sides have; None where they differ or the destination has none."""
        found = self._at_destination(task.destination)
        if found is None:
            return None
        source = self._transports.source(task.source.location, task.source.options)
        try:
            if source.current_digest() == found and (options.all_platforms or _is_image(source)):
                return found
            top = Reading(source, str(task.source.location)).top(options)
            return found if top.whole and top.raw.digest == found else None
        finally:
            source.close()

    def _at_destination(self, location: Location) -> Digest | None:
        try:
            there = self._transports.source(location, self._writing)
            try:
                return there.current_digest()
            finally:
                there.close()
        except (NotFound, Corrupt, Denied) as error:  # some registries deny what does not exist
            _log.debug("not at the destination: %s", error)
            return None


def planned(tasks: list[Task]) -> list[Synced]:
    """What would be copied (or found there), for a dry run."""
    return [Synced(str(task.source.location), str(task.destination), PLANNED) for task in tasks]


def _is_image(source: Source) -> bool:
    from orlop.image.manifest import Manifest, parse

    raw = source.manifest()
    return isinstance(parse(raw.data, raw.media_type), Manifest)
