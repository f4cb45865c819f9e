"""Follow the streams of a running container, and feed it."""

from __future__ import annotations

from orlop.pod.context import Pods
from orlop.pod.exec_container import running

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from orlop.runtime.attach import AttachSession


def attach(pods: Pods, name: str) -> AttachSession:
    """A session with the container's streams from now on; the caller closes it, the container goes on.

    Raises NotFound, Conflict (it does not run).
    """
    return pods.engine.attach(running(pods, name)["id"])


def resize(pods: Pods, name: str, *, width: int, height: int) -> None:
    """Set the size of the container's terminal, in characters. Raises NotFound, Conflict."""
    pods.engine.resize(running(pods, name)["id"], width, height)
