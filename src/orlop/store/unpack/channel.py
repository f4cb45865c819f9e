"""A bounded queue between two threads that either side can end."""

from __future__ import annotations

import threading
from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class Stopped(Exception):
    """The other side went away: there is nothing left to do."""


class Channel(Generic[T]):
    """Items in order; `finish` ends it after what is queued, with the error that the consumer shall see."""

    def __init__(self, capacity: int) -> None:
        self._items: deque[T] = deque()
        self._capacity = capacity
        self._changed = threading.Condition()
        self._finished = False
        self._stopped = False
        self._error: BaseException | None = None

    def put(self, item: T) -> None:
        """Blocks while full. Raises Stopped once the consumer went away."""
        with self._changed:
            while len(self._items) >= self._capacity and not self._stopped:
                self._changed.wait()
            if self._stopped:
                raise Stopped
            self._items.append(item)
            self._changed.notify_all()

    def get(self) -> T | None:
        """The next item; None at the end. Raises what the producer failed with, or Stopped."""
        with self._changed:
            while not self._items and not self._finished and not self._stopped:
                self._changed.wait()
            if self._stopped:
                raise Stopped
            if self._items:
                item = self._items.popleft()
                self._changed.notify_all()
                return item
            if self._error is not None:
                raise self._error
            return None

    def finish(self, error: BaseException | None = None) -> None:
        """The producer has no more."""
        with self._changed:
            self._finished = True
            self._error = error
            self._changed.notify_all()

    def stop(self) -> None:
        """The consumer wants no more."""
        with self._changed:
            self._stopped = True
            self._items.clear()
            self._changed.notify_all()
