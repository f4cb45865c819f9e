"""The blobs of a copy: each once, several at a time, converted on the way where that was decided."""

from __future__ import annotations

import concurrent.futures
import os
import tempfile
import threading
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import IO

from orlop.image.copy.options import CopyOptions
from orlop.image.copy.recompress import Recompressed
from orlop.image.manifest import Descriptor
from orlop.image.settings import ImageSettings
from orlop.image.sink import Reader
from orlop.image.transport import retry
from orlop.image.transport.destination import Destination, Streaming, TryAgain
from orlop.image.transport.source import BadBytes, Source
from orlop.kit import limits
from orlop.kit.errors import Cancelled
from orlop.kit.progress import Meter, Progress, QuietMeter
from orlop.kit.tasks import Cancellation

_LOOK = 0.2  # seconds between two looks whether the copy was cancelled
_SHORT = 12  # hex digits of a digest in a meter's label


@dataclass(frozen=True)
class Job:
    """A blob, and the compression that it shall have (None: as it is)."""

    blob: Descriptor
    compression: str | None = None

    @property
    def key(self) -> tuple[str, str | None]:
        return self.blob.digest, self.compression


class Blobs:
    """Moves blobs from `source` to `destination`; counts what it did."""

    def __init__(
        self,
        source: Source,
        destination: Destination,
        options: CopyOptions,
        cancellation: Cancellation,
        progress: Progress,
    ) -> None:
        self._source = source
        self._destination = destination
        self._options = options
        self._cancellation = cancellation
        self._progress = progress
        self._settings = ImageSettings(attempts=options.attempts, backoff=options.backoff)
        self._processors = len(os.sched_getaffinity(0))
        self._converting = threading.Semaphore(self._processors)
        self._threads = 0
        self._lock = threading.Lock()
        self._done: dict[tuple[str, str | None], Descriptor] = {}
        self.sent = self.there = self.bytes = 0

    def move(self, jobs: Iterable[Job]) -> None:
        """All of them. The first failure ends the others, and closes both sides; nothing runs on after it."""
        wanted = {job.key: job for job in jobs if job.key not in self._done}
        conversions = sum(job.compression is not None for job in wanted.values())
        # One layer alone may use every processor; several at once have one each.
        self._threads = self._processors if conversions == 1 and self._processors > 1 else 0
        pool = concurrent.futures.ThreadPoolExecutor(self._options.parallel, thread_name_prefix="copy")
        try:
            # The largest first: otherwise it would be alone in the end.
            ordered = sorted(wanted.values(), key=lambda job: -job.blob.size)
            futures = [pool.submit(self._one, job) for job in ordered]
            self._wait(futures)
            failed = [error for error in map(_error, futures) if error is not None]
            if failed:  # before `_stop`: what the others meet because of it says nothing
                raise _cause(failed)
        except BaseException:
            self._stop(pool)
            raise
        finally:
            pool.shutdown()

    def _wait(self, futures: list[concurrent.futures.Future[None]]) -> None:
        """Until all are done or one failed; a cancellation reaches transfers that stall, too."""
        while True:
            done, waiting = concurrent.futures.wait(
                futures, _LOOK, return_when=concurrent.futures.FIRST_EXCEPTION
            )
            if not waiting or any(future.exception() for future in done):
                return
            self._cancellation.check()

    def result(self, job: Job) -> Descriptor:
        """What a moved blob is at the destination: its digest and size."""
        return self._done[job.key]

    def _stop(self, pool: concurrent.futures.ThreadPoolExecutor) -> None:
        self._cancellation.cancel()
        self._source.close()
        self._destination.close()
        pool.shutdown(cancel_futures=True)

    def _one(self, job: Job) -> None:
        self._cancellation.check()
        if job.compression is not None:
            with self._converting:
                self._cancellation.check()
                found, moved = self._converted(job), True
        else:
            found, moved = job.blob, self._plain(job.blob)
        with self._lock:
            self._done[job.key] = found
            self.sent += moved
            self.there += not moved
            self.bytes += found.size if moved else 0

    def _plain(self, blob: Descriptor) -> bool:
        if self._destination.has_blob(blob):
            return False

        def send(meter: Meter) -> None:
            with self._source.open_blob(blob, meter) as reader:
                self._destination.put_blob(blob, reader, meter)

        self._persistently(blob, send)
        return True

    def _converted(self, job: Job) -> Descriptor:
        found = job.blob

        def send(meter: Meter) -> None:
            nonlocal found
            meter.note(f"to {job.compression or 'tar'}")
            with ExitStack() as stack:
                reader = stack.enter_context(self._source.open_blob(job.blob, meter))
                packed = stack.enter_context(self._recompressed(job, reader))
                if isinstance(self._destination, Streaming):
                    self._destination.put_stream(packed, meter, packed.describe)
                    digest, size = packed.describe()
                    found = replace(job.blob, digest=digest, size=size)
                else:
                    found = self._by_file(job.blob, packed)

        self._persistently(job.blob, send)
        return found

    def _recompressed(self, job: Job, reader: Reader) -> Recompressed:
        return Recompressed(
            reader,
            job.compression or "",
            self._options.level,
            threads=self._threads,
            subject=f"layer {job.blob.digest}",
        )

    def _by_file(self, blob: Descriptor, packed: Recompressed) -> Descriptor:
        """For a destination that must know the digest first."""
        with tempfile.TemporaryFile(prefix="orlop-copy-", dir="/var/tmp") as file:
            room = memoryview(bytearray(limits.MIB))
            while count := packed.readinto(room):
                self._cancellation.check()
                file.write(room[:count])
            digest, size = packed.describe()
            found = replace(blob, digest=digest, size=size)
            if not self._destination.has_blob(found):
                file.seek(0)
                self._destination.put_blob(found, _File(file), QuietMeter())
            return found

    def _persistently(self, blob: Descriptor, send: Callable[[Meter], None]) -> None:
        """Send again where the way broke, or another mirror may have the right bytes."""
        meter = self._progress.meter(f"blob {blob.digest.encoded[:_SHORT]}", blob.size)
        attempt = 0
        try:
            while True:
                attempt += 1
                try:
                    return send(meter)
                except BadBytes as error:
                    if not error.elsewhere:  # ends: each time one place fewer is left
                        raise
                except TryAgain:
                    if attempt >= self._options.attempts:
                        raise
                meter.note("again")
                self._cancellation.wait(retry.pause(self._settings, attempt))
        finally:
            meter.done()


class _File:
    """sink.Reader of a finished file of ours."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def readinto(self, buffer: bytearray | memoryview, /) -> int:
        return int(self._file.readinto(buffer))  # type: ignore[attr-defined]  # every binary file has it


def _error(future: concurrent.futures.Future[None]) -> BaseException | None:
    return future.exception() if future.done() and not future.cancelled() else None


def _cause(errors: list[BaseException]) -> BaseException:
    """What ended the copy."""
    return next((error for error in errors if not isinstance(error, Cancelled)), errors[0])
