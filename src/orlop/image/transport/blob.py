"""A blob while it streams: hashed as it is read, resumed where a connection broke, verified at its end."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from orlop.image.manifest import Descriptor
from orlop.image.settings import ImageSettings
from orlop.image.transport import retry
from orlop.image.transport.http import Answer, Broken
from orlop.image.transport.registry import RegistryClient
from orlop.image.transport.source import BadBytes
from orlop.kit import limits
from orlop.kit.progress import Meter
from orlop.kit.tasks import Cancellation

_GATHERED = 256 * limits.KIB
_MIRROR_RESUMES = 3  # somebody else can be asked instead


class Opener(Protocol):
    """Who knows the places to fetch from (docker.py)."""

    def open_at(self, blob: Descriptor, offset: int) -> tuple[RegistryClient, Answer]:
        """The blob from `offset` on, from the first place that still counts as working."""

    def drop(self, client: RegistryClient, error: Exception) -> bool:
        """`client` failed: leave it out for the rest of the pull. False where no other is left."""


class BlobReader:
    """sink.Reader over the network. For one thread; `close` ends its connection."""

    def __init__(
        self,
        blob: Descriptor,
        opener: Opener,
        settings: ImageSettings,
        cancellation: Cancellation,
        meter: Meter,
    ) -> None:
        import hashlib

        self._blob = blob
        self._opener = opener
        self._settings = settings
        self._cancellation = cancellation
        self._meter = meter
        self._hash = hashlib.new(blob.digest.algorithm)
        self._answer: Answer | None = None
        self._client: RegistryClient | None = None
        self._offset = 0
        self._failures = 0
        self._resumed_at = 0
        self._slow: Callable[[int], bool] = _Pace(settings.read_timeout).too_slow
        self._verified = False

    def readinto(self, buffer: bytearray | memoryview, /) -> int:
        """As sink.Reader says. Raises BadBytes (wrong bytes), Broken (no attempt left), Cancelled.

        What comes in dribbles (TLS records) is gathered, since each piece costs its consumers a round.
        """
        view = memoryview(buffer)
        enough = min(len(view), _GATHERED)
        filled = 0
        while filled < enough and not self._verified:
            filled += self._piece(view[filled:])
        return filled

    def _piece(self, room: memoryview) -> int:
        """What the connection has now; 0 once the end was verified."""
        view = room[: max(1, self._blob.size - self._offset)]
        while True:
            self._cancellation.check()
            try:
                count = self._current().readinto(view)
                if count and not self._slow(count):
                    break
                if count == 0 and self._offset == self._blob.size:
                    return self._finish()
                if count:
                    raise Broken(self._place, "stalls (timed out)", hint="try again", timed_out=True)
                raise Broken(self._place, "the connection broke", hint="try again")
            except Broken as error:
                self._recover(error)
        if self._offset + count > self._blob.size:
            raise self._bad(f"is longer than the {self._blob.size} bytes of its descriptor")
        self._hash.update(view[:count])
        self._offset += count
        self._meter.advance(count)
        return count

    def close(self) -> None:
        if self._answer is not None:
            self._answer.close()
            self._answer = None

    @property
    def _place(self) -> str:
        return self._client.endpoint.host if self._client else str(self._blob.digest)

    def _current(self) -> Answer:
        if self._answer is None:
            self._client, self._answer = self._opener.open_at(self._blob, self._offset)
            self._slow = _Pace(self._settings.read_timeout).too_slow
        return self._answer

    def _recover(self, error: Broken) -> None:
        """Prepare the next attempt, here or elsewhere; raises `error` where none is left."""
        if self._client is None or self._answer is None:
            raise error  # no place could be opened: its own attempts are used up
        self.close()
        self._cancellation.check()
        if self._offset - self._resumed_at >= limits.HTTP_PROGRESS:
            self._failures = 0
        self._resumed_at = self._offset
        self._failures += 2 if error.timed_out else 1  # it has cost a whole time limit
        most = _MIRROR_RESUMES if self._client.endpoint.mirror else self._settings.attempts
        if self._failures < most:
            self._meter.note("resuming")
            self._cancellation.wait(retry.pause(self._settings, self._failures))
            return
        if not self._opener.drop(self._client, error):
            raise error
        self._failures = 0

    def _finish(self) -> int:
        found = f"{self._blob.digest.algorithm}:{self._hash.hexdigest()}"
        if found != self._blob.digest:
            raise self._bad(f"has the digest {found}")
        self._verified = True
        self.close()
        return 0

    def _bad(self, cause: str) -> BadBytes:
        error = BadBytes(
            f"blob {self._blob.digest}",
            f"{cause}, as {self._place} serves it",
            hint="the registry's copy is damaged or forged: push it again or pull from another registry",
        )
        self.close()
        if self._client is not None:
            error.elsewhere = self._opener.drop(self._client, error)
        return error


class _Pace:
    """Tells a transfer that trickles from one that flows, over windows of one read timeout."""

    def __init__(self, window: float) -> None:
        self._window = window
        self._begin = time.monotonic()
        self._bytes = 0

    def too_slow(self, count: int) -> bool:
        self._bytes += count
        elapsed = time.monotonic() - self._begin
        if elapsed < self._window:
            return False
        slow = self._bytes < limits.HTTP_SLOWEST * elapsed
        self._begin, self._bytes = time.monotonic(), 0
        return slow
