"""A client that behaves as the kubelet does: what is not answered is asked again, in the same words.

It also loses patience at random: some of its requests have deadlines too short for what they ask, and the
repeat has to join what the first one began.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from typing import Any

import grpc

from tests.support.cri import Client

#: What the kubelet asks again after. Anything else is an answer.
_UNANSWERED = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED)
_PATIENT = 60.0
_IMPATIENT = 0.25  # seconds; of a request that is meant to be cut off, at most
_ENOUGH = 120.0  # seconds until a request must have been answered, however often it was repeated


class Figures:
    """Of all clients of a run, by method: how often asked again, and the longest time until an answer."""

    def __init__(self) -> None:
        self.repeated: Counter[str] = Counter()
        self.slowest: dict[str, float] = {}
        self._lock = threading.Lock()

    def count(self, method: str, repeats: int, seconds: float) -> None:
        with self._lock:
            self.repeated[method] += repeats
            self.slowest[method] = max(self.slowest.get(method, 0.0), round(seconds, 1))


class Kubelet:
    """One client with a connection of its own; not for several threads."""

    def __init__(
        self, socket: str, chance: random.Random, figures: Figures, *, impatient: float = 0.15
    ) -> None:
        self._socket = socket
        self._chance = chance
        self._impatient = impatient  # the share of requests with too short a deadline
        self._figures = figures
        self._client = Client(socket)
        self.repeats = 0  # of the last request

    def __enter__(self) -> Kubelet:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.__exit__()

    def ask(self, method: str, request: Any) -> Any:
        """The answer, however long that takes. Raises grpc.RpcError where the answer is a refusal."""
        begun, self.repeats = time.monotonic(), 0
        while True:
            short = self._chance.random() < self._impatient
            timeout = self._chance.uniform(0.001, _IMPATIENT) if short else _PATIENT
            try:
                answer = getattr(self._client, method)(request, timeout=timeout)
            except grpc.RpcError as error:
                if error.code() not in _UNANSWERED:
                    self._figures.count(method, self.repeats, time.monotonic() - begun)
                    raise
                waited = time.monotonic() - begun
                assert waited < _ENOUGH, f"{method} is not answered: {error.code()} {error.details()}"
                self._again(error)
                continue
            self._figures.count(method, self.repeats, time.monotonic() - begun)
            return answer

    def once(self, method: str, request: Any, timeout: float) -> bool:
        """Ask, and do not care for the answer; whether there was one."""
        try:
            getattr(self._client, method)(request, timeout=timeout)
        except grpc.RpcError as error:
            self._again(error)
            return False
        return True

    def _again(self, error: grpc.RpcError) -> None:
        """Repeat after a moment, on a new connection where the daemon has gone."""
        self.repeats += 1
        if error.code() == grpc.StatusCode.UNAVAILABLE:
            self._client.__exit__()
            time.sleep(self._chance.uniform(0.02, 0.2))
            self._client = Client(self._socket)
