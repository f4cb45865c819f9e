"""The store's own kinds of failure; the classes of kit.errors decide exit codes."""

from __future__ import annotations

from orlop.kit.errors import Conflict, Corrupt, NotFound


class HostileArchive(Corrupt):
    """A layer's archive asks for what no honest one does; it was refused whole."""


class ImageUnknown(NotFound):
    """No such image in this store."""


class LayerUnknown(NotFound):
    """No such layer in this store."""


class RootfsUnknown(NotFound):
    """No such container file system in this store."""


class ImageInUse(Conflict):
    """A container or a mount stands on the image."""
