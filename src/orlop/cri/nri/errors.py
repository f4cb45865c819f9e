"""What goes wrong between the runtime and a plugin."""

from __future__ import annotations

from orlop.kit.errors import Conflict, Denied, OrlopError, Unavailable

#: gRPC's numbers of the codes that are spoken of here.
UNKNOWN, INVALID_ARGUMENT, RESOURCE_EXHAUSTED, UNIMPLEMENTED = 2, 3, 8, 12


class RemoteError(Exception):
    """The other side answered a call with this status."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message or f"status {code}")
        self.code = code


class Broken(Exception):
    """The connection is gone, or what came through it is no such protocol."""


class Oversized(Exception):
    """A message that no receiver would take; nothing of it was sent."""

    def __init__(self, size: int) -> None:
        super().__init__(f"{size} bytes")
        self.size = size


class PluginRefused(Denied):
    """A plugin, or a validator, said no to a request."""


class PluginsClash(Conflict):
    """Two plugins want the same thing of a container."""


class PluginFailed(Unavailable):
    """A plugin that asked to be waited for did not answer."""


class BadAdjustment(OrlopError):
    """A plugin wants what cannot be."""
