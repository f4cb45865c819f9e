"""One layer, from its blob to a folder: four threads that hand each other large pieces.

    read (and verify the blob) -> inflate -> digest of the unpacked bytes
                                          -> extract (the calling thread)

All four spend their time outside the interpreter lock. Queues are short, so that memory stays small whatever
the network and the disk do.
"""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

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
from orlop.store.unpack.listing import Listing
from orlop.store.unpack.write_back import WriteBack

if TYPE_CHECKING:
    from orlop.image.sink import Reader

_READ = 256 * limits.KIB
_QUEUED = 8  # pieces between two threads


@dataclass(frozen=True)
class Unpacked:
    """What a layer came to: bytes and entries, packed bytes, and what `check` compares later."""

    size: int
    entries: int
    packed: int
    opaque_root: bool
    listing: Listing


def unpack(
    reader: Reader,
    folder: str,
    diff_id: Digest,
    *,
    settings: StoreSettings,
    tick: Callable[[], None],
) -> Unpacked:
    """Extract the blob into the empty `folder` and verify `diff_id`; all of it is on the disk afterwards.

    Raises Corrupt (HostileArchive), LimitExceeded, Unavailable (the disk is full), what `reader` and `tick`
    raise. The folder then holds rubbish, which the caller removes.
    """
    return _Unpacking(reader, folder, diff_id, settings, tick).run()


class _Unpacking:
    def __init__(
        self,
        reader: Reader,
        folder: str,
        diff_id: Digest,
        settings: StoreSettings,
        tick: Callable[[], None],
    ) -> None:
        self._reader = reader
        self._folder = folder
        self._diff_id = diff_id
        self._settings = settings
        self._tick = tick
        self._subject = f"layer {diff_id}"
        self._packed = 0
        self._reader_failure: BaseException | None = None
        self._digest = hashlib.new(diff_id.algorithm)
        self._raw: Channel[bytes] = Channel(_QUEUED)
        self._for_digest: Channel[bytes] = Channel(_QUEUED)
        self._for_extraction: Channel[bytes] = Channel(_QUEUED)

    def run(self) -> Unpacked:
        threads = [
            threading.Thread(target=target, name=f"unpack-{target.__name__.strip('_')}", daemon=True)
            for target in (self._read, self._inflate, self._hash)
        ]
        for thread in threads:
            thread.start()
        try:
            done = self._extract()
            for thread in threads:
                thread.join()
        except BaseException as error:
            self._for_digest.stop()
            self._for_extraction.stop()
            try:
                if isinstance(error, Corrupt) and not isinstance(error, HostileArchive):
                    self._drain()  # bytes that the network broke: the reader knows once it has read them all
            finally:
                self._raw.stop()
                for thread in threads:
                    thread.join()
            raise
        found = f"{self._diff_id.algorithm}:{self._digest.hexdigest()}"
        if found != self._diff_id:
            raise Corrupt(
                self._subject,
                f"unpacks to what has another digest, {found}",
                hint="the image is badly built or was tampered with; pull it from where it was made",
            )
        return done

    # -- threads -----------------------------------------------------------------------------------------

    def _read(self) -> None:
        try:
            buffer = bytearray(_READ)
            while count := self._reader.readinto(buffer):
                self._packed += count
                self._raw.put(bytes(memoryview(buffer)[:count]))
        except BaseException as error:
            self._reader_failure = error
            self._raw.finish(error)
        else:
            self._raw.finish()

    def _inflate(self) -> None:
        error: BaseException | None = None
        try:
            total = 0
            for piece in decompressed(_items(self._raw), self._subject):
                total += len(piece)
                self._check_bounds(total)
                self._for_digest.put(piece)
                self._for_extraction.put(piece)
        except BaseException as caught:
            error = caught
        self._for_digest.finish()
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

    def _hash(self) -> None:
        with contextlib.suppress(Stopped):
            for piece in _items(self._for_digest):
                self._digest.update(piece)

    # -- the calling thread ------------------------------------------------------------------------------

    def _extract(self) -> Unpacked:
        write_back = WriteBack(self._folder)
        extractor = Extractor(
            self._folder,
            self._subject,
            unpacked_limit=self._settings.layer_unpacked_limit,
            entries_limit=self._settings.layer_entries_limit,
            on_written=write_back.written,
        )
        try:
            extractor.run(tar.Archive(self._piece, self._subject))
            while self._piece() is not None:  # what follows the archive's end is part of its digest
                pass
            write_back.finish()
        except OSError as error:
            if error is self._reader_failure:
                raise
            raise _machine(error, self._subject) from error
        finally:
            extractor.close()
            write_back.close()
        return Unpacked(
            extractor.size, len(extractor.listing), self._packed, extractor.opaque_root, extractor.listing
        )

    def _piece(self) -> bytes | None:
        self._tick()
        return self._for_extraction.get()

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
