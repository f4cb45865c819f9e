"""One layer, from its blob into the store: threads that hand each other large pieces.

    read (and verify the blob) -> inflate -> digest of the unpacked bytes
                               |          -> write them (where they are kept as they are: EROFS)
                               |          -> extract (the calling thread)
                               -> keep the blob (where it is wanted)

All spend their time outside the interpreter lock, but for what reads headers. Queues are short, so that
memory stays small whatever the network and the disk do.
"""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Protocol

from orlop.image.digest import Digest
from orlop.kit import limits
from orlop.kit.errors import Corrupt, LimitExceeded, OrlopError, Unavailable
from orlop.kit.value import dataclass
from orlop.store.errors import HostileArchive
from orlop.store.model import StoreSettings
from orlop.store.unpack import tar
from orlop.store.unpack.channel import Channel, Stopped
from orlop.store.unpack.decompress import decompressed
from orlop.store.unpack.extract import Extractor
from orlop.store.unpack.target import Target

if TYPE_CHECKING:
    from orlop.image.sink import Reader

_READ = 256 * limits.KIB
_KEEPER = "unpack-keep"
_QUEUED = 8  # pieces between two threads


@dataclass(frozen=True)
class Unpacked:
    """What a layer came to: bytes and entries, packed bytes, and whether it hides all layers below it."""

    size: int
    entries: int
    packed: int
    opaque_root: bool


def unpack(
    reader: Reader,
    target: Target,
    diff_id: Digest,
    *,
    settings: StoreSettings,
    tick: Callable[[], None],
    keep: Kept | None = None,
) -> Unpacked:
    """The blob into `target`, `diff_id` verified; all of it is on the disk afterwards.

    `keep` is given the blob's own bytes, in a thread of its own; what it raises ends the work.
    Raises Corrupt (HostileArchive), LimitExceeded, Unavailable (the disk is full), what `reader` and `tick`
    raise. The target then holds rubbish, which the caller removes.
    """
    return _Unpacking(reader, target, diff_id, settings, tick, keep).run()


class Kept(Protocol):
    """Where the blob's own bytes go as well (`blobs.write.BlobWriter`)."""

    def write(self, piece: bytes, /) -> None: ...

    def finish(self) -> int:
        """All of them came; they are durable afterwards."""


class _Unpacking:
    def __init__(
        self,
        reader: Reader,
        target: Target,
        diff_id: Digest,
        settings: StoreSettings,
        tick: Callable[[], None],
        keep: Kept | None,
    ) -> None:
        self._reader = reader
        self._target = target
        self._diff_id = diff_id
        self._settings = settings
        self._tick = tick
        self._keep = keep
        self._subject = f"layer {diff_id}"
        self._packed = 0
        self._reader_failure: BaseException | None = None
        self._side_failure: BaseException | None = None  # of `keep`, or of what writes the archive
        self._digest = hashlib.new(diff_id.algorithm)
        self._raw: Channel[bytes] = Channel(_QUEUED)
        self._for_extraction: Channel[bytes] = Channel(_QUEUED)
        self._for_digest: Channel[bytes] = Channel(_QUEUED)
        self._for_target: Channel[bytes] = Channel(_QUEUED)
        self._for_keeping: Channel[bytes] = Channel(_QUEUED)

    def run(self) -> Unpacked:
        targets: list[tuple[str, Callable[[], None]]] = [
            ("read", self._read),
            ("inflate", self._inflate),
            ("digest", lambda: self._each(self._for_digest, self._digest.update)),
        ]
        if self._keep is not None:
            keep = self._keep
            targets.append(("keep", lambda: self._each(self._for_keeping, keep.write, keep.finish)))
        if self._target.writes:
            targets.append(("write", lambda: self._each(self._for_target, self._target.write)))
        threads = [
            threading.Thread(target=target, name=f"unpack-{name}", daemon=True) for name, target in targets
        ]
        for thread in threads:
            thread.start()
        try:
            extractor = self._extract()
            for thread in threads:
                if thread.name != _KEEPER:
                    thread.join()
            self._raise_side_failure()
            self._check_digest()
            self._target.finish()  # while the keeper waits for the disk, too
            for thread in threads:
                thread.join()
            self._raise_side_failure()
        except BaseException as error:
            self._stop(error, threads)
            if isinstance(error, OSError) and error is not self._reader_failure:
                raise _machine(error, self._subject) from error
            raise
        return Unpacked(extractor.size, self._target.writer.count, self._packed, extractor.opaque_root)

    def _raise_side_failure(self) -> None:
        if self._side_failure is not None:
            raise self._side_failure

    def _stop(self, error: BaseException, threads: list[threading.Thread]) -> None:
        """End the threads after a failure."""
        for channel in (self._for_digest, self._for_extraction, self._for_target):
            channel.stop()
        try:
            if isinstance(error, Corrupt) and not isinstance(error, HostileArchive):
                self._drain()  # bytes that the network broke: the reader knows once it has read them all
        finally:
            self._raw.stop()
            self._for_keeping.stop()
            for thread in threads:
                thread.join()

    def _check_digest(self) -> None:
        found = f"{self._diff_id.algorithm}:{self._digest.hexdigest()}"
        if found != self._diff_id:
            raise Corrupt(
                self._subject,
                f"unpacks to what has another digest, {found}",
                hint="the image is badly built or was tampered with; pull it from where it was made",
            )

    # -- threads -----------------------------------------------------------------------------------------

    def _read(self) -> None:
        error: BaseException | None = None
        try:
            buffer = bytearray(_READ)
            while count := self._reader.readinto(buffer):
                self._packed += count
                piece = bytes(memoryview(buffer)[:count])
                if self._keep is not None:
                    self._for_keeping.put(piece)
                self._raw.put(piece)
        except BaseException as caught:
            error = self._reader_failure = caught
        self._raw.finish(error)
        self._for_keeping.finish()

    def _inflate(self) -> None:
        error: BaseException | None = None
        try:
            total = 0
            for piece in decompressed(_items(self._raw), self._subject):
                total += len(piece)
                self._check_bounds(total)
                self._for_digest.put(piece)
                if self._target.writes:
                    self._for_target.put(piece)
                self._for_extraction.put(piece)
        except BaseException as caught:
            error = caught
        self._for_digest.finish()
        self._for_target.finish()
        self._for_extraction.finish(error)

    def _check_bounds(self, total: int) -> None:
        # An archive's own headers and padding come on top of what its files have.
        if total > self._settings.layer_unpacked_limit + self._settings.layer_entries_limit * 2 * tar.BLOCK:
            raise LimitExceeded(
                self._subject,
                f"unpacks to more than {self._settings.layer_unpacked_limit} bytes",
                hint="raise [store] layer_unpacked_limit if you trust this image",
            )
        if total > limits.RATIO_FLOOR and total > self._packed * self._settings.layer_ratio_limit:
            raise LimitExceeded(
                self._subject,
                f"unpacks to more than {self._settings.layer_ratio_limit} times its size: a bomb",
                hint="raise [store] layer_ratio_limit if you trust this image",
            )

    def _each(
        self, channel: Channel[bytes], take: Callable[[bytes], None], end: Callable[[], object] | None = None
    ) -> None:
        try:
            with contextlib.suppress(Stopped):
                for piece in _items(channel):
                    take(piece)
                if end is not None and self._reader_failure is None:
                    end()
        except BaseException as error:
            self._side_failure = error
            channel.stop()  # whoever fills it ends, and with it the rest
            self._for_extraction.finish(error)

    # -- the calling thread ------------------------------------------------------------------------------

    def _extract(self) -> Extractor[Any]:
        extractor: Extractor[Any] = Extractor(
            self._target.writer,
            self._subject,
            unpacked_limit=self._settings.layer_unpacked_limit,
            entries_limit=self._settings.layer_entries_limit,
        )
        extractor.run(tar.Archive(self._piece, self._subject))
        while self._piece() is not None:  # what follows the archive's end is part of its digest
            pass
        return extractor

    def _piece(self) -> bytes | None:
        self._tick()
        try:
            return self._for_extraction.get()
        except Stopped:
            if self._side_failure is not None:  # the threads ended because one of them failed
                raise self._side_failure from None
            raise

    def _drain(self) -> None:
        while True:
            self._tick()
            if self._raw.get() is None:
                return


def _items(channel: Channel[bytes]) -> Iterator[bytes]:
    while (item := channel.get()) is not None:
        yield item


def _machine(error: OSError, subject: str) -> OrlopError:
    return Unavailable(
        subject,
        f"cannot be unpacked: {error.strerror or error}",
        hint="see that the disk has room (df -h, df -i) and that this runs as root; then try again",
    )
