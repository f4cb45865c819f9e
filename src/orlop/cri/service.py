"""`Service`: what every RPC takes first."""

from __future__ import annotations

import asyncio

from orlop.cri.events import Events
from orlop.cri.listing import Listing
from orlop.cri.observer import Observer
from orlop.cri.pulls import Pulls
from orlop.cri.rates import Rates
from orlop.cri.settings import CriSettings
from orlop.cri.streaming.server import Streaming
from orlop.kit.errors import InvalidInput, NotFound
from orlop.pod import refresh
from orlop.pod.context import Pods, as_container, as_sandbox
from orlop.pod.model import Container, Sandbox

_LEAST = 4  # characters of an ID that is cut short


class Service:
    """The parts that RPCs work with. Plain attributes, set before the first request; safe for many threads.

    `loop` is the daemon's event loop, for worker threads that have something to do there. What is looked up
    here is what the CRI made: pods that others run on this node are none of the kubelet's business, which
    would remove what it does not know.
    """

    def __init__(
        self,
        pods: Pods,
        settings: CriSettings,
        *,
        streaming: Streaming,
        observer: Observer | None = None,
    ) -> None:
        self.pods = pods
        self.settings = settings
        self.streaming = streaming
        self.observer = observer or Observer()
        self.listing = Listing(pods)
        self.loop: asyncio.AbstractEventLoop = asyncio.get_running_loop()
        self.events = Events(pods, self.observer)
        self.pulls = Pulls(pods, self.observer, settings.parallel_pulls)
        self.rates = Rates()

    async def start(self) -> None:
        """Before the first request. Raises OSError."""
        await self.events.start()

    async def stop(self) -> None:
        """Let nobody wait for what would go on: pulls are cut off, subscriptions end."""
        await self.pulls.stop()
        await self.events.stop()

    def sandboxes(self) -> list[Sandbox]:
        """All pods, oldest first."""
        return [sandbox for sandbox, _ in self.listing.sandboxes()]

    def containers(self, sandbox_id: str = "") -> list[Container]:
        """All containers, or those of one pod (its whole ID), oldest first, as they are now."""
        if sandbox_id:
            return self.pods.containers(sandbox_id)
        return [container for container, _ in self.listing.containers()]

    def sandbox(self, identifier: str) -> Sandbox:
        """The pod of this ID or beginning of one. Raises NotFound, InvalidInput (ambiguous)."""
        whole = self.sandbox_id(identifier)
        row = self.pods.records.row("sandboxes", whole)
        if row is None:  # removed a moment ago
            raise _absent("pod sandbox", identifier)
        return as_sandbox(row)

    def container(self, identifier: str) -> Container:
        """The container of this ID or beginning of one, as it is now. Raises NotFound, InvalidInput."""
        whole = self.container_id(identifier)
        row = self.pods.records.row("containers", whole)
        if row is None:  # removed a moment ago
            raise _absent("container", identifier)
        return as_container(refresh.refreshed(self.pods, row))

    def sandbox_id(self, identifier: str) -> str:
        """The whole ID. Raises NotFound, InvalidInput (ambiguous)."""
        return _there(self.find_sandbox(identifier), "pod sandbox", identifier)

    def container_id(self, identifier: str) -> str:
        """The whole ID. Raises NotFound, InvalidInput (ambiguous)."""
        return _there(self.find_container(identifier), "container", identifier)

    def find_sandbox(self, identifier: str) -> str:
        """The whole ID, "" where there is no such pod. Raises InvalidInput where several begin so."""
        return self._found("sandboxes", "pod sandbox", identifier)

    def find_container(self, identifier: str) -> str:
        """The whole ID, "" where there is no such container. Raises InvalidInput where several begin so."""
        return self._found("containers", "container", identifier)

    def _found(self, table: str, kind: str, identifier: str) -> str:
        if len(identifier) < _LEAST:
            return ""
        found = self.listing.find(table, identifier)
        if len(found) > 1:
            raise InvalidInput(f"{kind} {identifier}", f"{len(found)} begin so", hint="give more of the ID")
        return found[0] if found else ""


def _there(found: str, kind: str, identifier: str) -> str:
    if not found:
        raise _absent(kind, identifier)
    return found


def _absent(kind: str, identifier: str) -> NotFound:
    return NotFound(f"{kind} {identifier[:80]}", f"no such {kind}", hint="it was removed, or never made")
