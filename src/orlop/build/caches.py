"""The folders of RUN --mount=type=cache: root/build/cache/<SHA-256 of the ID>/{data, lock}.

`shared`: many builds at once. `locked`: one after the other. `private`: each build at a time has one of its
own, and a free one is used again. They stay until `orlop store prune` finds them unused.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator

from orlop.kit import files, limits, locks
from orlop.kit.node import Node

_MOST = 1000  # private folders of one ID


class Cache:
    def __init__(self, node: Node, identifier: str, sharing: str) -> None:
        self._folder = node.in_root("build", "cache")
        self._name = hashlib.sha256(identifier.encode(errors="surrogateescape")).hexdigest()
        self._sharing = sharing

    @contextlib.contextmanager
    def open(
        self, *, mode: int, owner: tuple[int, int], fill: str | None, tick: Callable[[], None]
    ) -> Iterator[str]:
        """The folder's path for the block; made with this mode and owner, and filled, where it is new."""
        with self._held(tick) as place:
            data = f"{place}/data"
            if not os.path.isdir(data):
                files.make_folder(place)
                fresh = f"{place}/{files.unique()}"
                if fill is None:
                    os.mkdir(fresh)
                else:
                    shutil.copytree(fill, fresh, symlinks=True)
                os.chown(fresh, *owner)
                os.chmod(fresh, mode)
                with contextlib.suppress(OSError):  # another build was first
                    os.rename(fresh, data)
                if os.path.isdir(fresh):
                    files.remove_tree(fresh)
            os.utime(place)
            yield data

    @contextlib.contextmanager
    def _held(self, tick: Callable[[], None]) -> Iterator[str]:
        first = f"{self._folder}/{self._name}"
        files.make_folder(self._folder)
        if self._sharing != "private":
            with locks.hold(
                f"{first}.lock", shared=self._sharing == "shared", tick=tick, timeout=limits.LOCK_TIMEOUT
            ):
                yield first
            return
        for number in range(_MOST):
            place = f"{first}-{number}"
            with locks.attempt(f"{place}.lock") as held:
                if held:
                    yield place
                    return
        raise AssertionError(f"{_MOST} builds at the same time")
