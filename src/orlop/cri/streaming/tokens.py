"""What was asked for, under the token of the URL that it was answered with: good once, for a while."""

from __future__ import annotations

import secrets
import threading
import time
from collections import OrderedDict
from typing import Generic, TypeVar

from orlop.kit import limits
from orlop.kit.errors import LimitExceeded

T = TypeVar("T")


class Tokens(Generic[T]):
    """Thread-safe. At most `count` requests wait, none longer than `life` seconds."""

    def __init__(self, *, count: int = limits.STREAM_TOKENS, life: float = limits.STREAM_TOKEN_LIFE) -> None:
        self._count, self._life = count, life
        self._waiting: OrderedDict[str, tuple[float, T]] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, asked: T) -> str:
        """A new token for it. Raises LimitExceeded."""
        now = time.monotonic()
        with self._lock:
            while self._waiting and next(iter(self._waiting.values()))[0] <= now:
                self._waiting.popitem(last=False)
            if len(self._waiting) >= self._count:
                raise LimitExceeded(
                    "streaming",
                    f"{self._count} requests wait for their clients to connect",
                    hint=f"connect to the URLs that were handed out, or wait {self._life:g} s",
                )
            token = secrets.token_urlsafe(16)
            self._waiting[token] = (now + self._life, asked)
            return token

    def take(self, token: str) -> T | None:
        """What was asked for with it; None where it is unknown, used or too old. It is good once."""
        with self._lock:
            found = self._waiting.pop(token, None)
        if found is None or found[0] <= time.monotonic():
            return None
        return found[1]
