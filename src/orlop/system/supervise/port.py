"""The port between the supervisor and what runs pods."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

from orlop.kit.errors import Unavailable
from orlop.system.records import PodRecord
from orlop.system.supervise.model import Seen


class Unusable(Unavailable):
    """The declaration cannot be carried out as things are (a config map that is not there, ...)."""


class Pods(Protocol):
    """Contract:

    - Every method is harmless when called twice and when what it acts on is gone already.
    - A cancelled call leaves something that `observe` shows or that a repeated call finishes.
    - Failures are OrlopErrors: Unavailable where trying again may help.
    """

    async def observe(self, uid: str) -> Seen:
        """What there is of the pod, now."""

    async def ensure_image(self, pod: PodRecord, container: str) -> None:
        """The container's image is in the store, by its pull policy."""

    async def make_sandbox(self, pod: PodRecord, attempt: int) -> None: ...

    async def stop_sandbox(self, sandbox_id: str) -> None:
        """Free what the pod holds (network, namespaces); containers that still run are killed."""

    async def remove_sandbox(self, sandbox_id: str) -> None:
        """Stop and remove it with its containers."""

    async def start(self, pod: PodRecord, sandbox_id: str, container: str, attempt: int) -> None:
        """Make (where it is not there yet) and start that attempt of the container. Raises Unusable."""

    async def stop(self, container_id: str, grace: float) -> None:
        """Its stop signal, then SIGKILL after `grace` seconds; ends when it has exited."""

    async def remove(self, container_id: str) -> None: ...

    async def execute(self, container_id: str, command: tuple[str, ...], limit: float) -> tuple[int, str]:
        """Run a command in it: (exit code, output). Raises TimedOut after `limit` seconds."""

    async def refresh(self, pod: PodRecord) -> None:
        """Write changed config maps and secrets into the volumes of the running pod."""

    async def rotate_logs(self, container_ids: Collection[str]) -> None:
        """Rotate the logs of these containers that have grown too long, where they still run."""

    async def forget(self, pod: PodRecord) -> None:
        """Remove what was made for the pod beside its sandboxes (its ephemeral volumes)."""
