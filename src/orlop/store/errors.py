"""The store's own kinds of failure; the classes of kit.errors decide exit codes."""

from __future__ import annotations

import functools
from collections.abc import Callable

from orlop.kit.errors import Conflict, Corrupt, NotFound, Unavailable

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from typing import ParamSpec, TypeVar

    P = ParamSpec("P")
    T = TypeVar("T")


class HostileArchive(Corrupt):
    """A layer's archive asks for what no honest one does; it was refused whole."""


class ImageUnknown(NotFound):
    """No such image in this store."""


class LayerUnknown(NotFound):
    """No such layer in this store."""


class BlobUnknown(NotFound):
    """No such blob in this store."""


class RootfsUnknown(NotFound):
    """No such container file system in this store."""


class ImageInUse(Conflict):
    """A container or a mount stands on the image."""


def folder_lost(path: str) -> Corrupt:
    """A layer that is recorded has no folder: somebody removed it, or the disk is damaged."""
    return Corrupt(path, "is gone", hint="orlop store check --repair, then pull the image again")


def explained(function: Callable[P, T]) -> Callable[P, T]:
    """What the system refuses (rights, room, a broken disk) is said as an error of ours."""

    @functools.wraps(function)
    def inner(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return function(*args, **kwargs)
        except BrokenPipeError:  # of who takes what is written: nothing of the store's
            raise
        except OSError as error:
            raise Unavailable(
                str(error.filename or "the store"),
                error.strerror or str(error),
                hint="run as root, and see that the disk has room (df -h, df -i) and is not read-only",
            ) from error

    return inner
