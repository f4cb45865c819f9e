"""The port to whoever watches the daemon at work; `operate` counts, logs and traces with it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator

Metadata = Iterable[tuple[str, str | bytes]]


class Seen:
    """One request on its way. `code` is the gRPC status' name that it ended with."""

    def __init__(self, method: str) -> None:
        self.method = method  # as in "RunPodSandbox"
        self.code = "OK"
        self.error: BaseException | None = None


class Observer:
    """Contract: thread-safe, never raises, never waits. The default does nothing."""

    @contextlib.contextmanager
    def request(self, method: str, about: str = "", metadata: Metadata = ()) -> Iterator[Seen]:
        """Around one RPC; `about` is the ID or name that it is about, `metadata` what gRPC brought with it.

        The caller sets `code` and `error`.
        """
        yield Seen(method)

    def pulled(self, name: str, *, size: int, seconds: float, code: str = "OK") -> None:
        """An image was pulled (`size` bytes fetched), or could not be: `code` is then the error's kind."""

    def ended(self, container_id: str, *, exit_code: int, oom_killed: bool) -> None:
        """A container has ended."""
