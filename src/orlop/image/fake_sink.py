"""A Sink in memory, for tests of whoever pulls: it unpacks nothing but verifies as the contract demands."""

from __future__ import annotations

import hashlib
import threading
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from orlop.image.digest import Digest
from orlop.image.sink import ImageRecord, LayerRequest, Reader
from orlop.kit import limits
from orlop.kit.errors import Corrupt, NotFound
from orlop.kit.progress import Meter

_WAIT = 0.01


class FakeSink:
    """`layers` maps chain IDs to unpacked tars, `images` IDs to records, `names` canonical names to IDs."""

    def __init__(self) -> None:
        self.layers: dict[Digest, bytes] = {}
        self.images: dict[Digest, ImageRecord] = {}
        self.names: dict[str, Digest] = {}
        self.leases = 0
        self._busy: set[Digest] = set()
        self._changed = threading.Condition()

    @contextmanager
    def lease(self) -> Iterator[None]:
        with self._changed:
            self.leases += 1
        try:
            yield
        finally:
            with self._changed:
                self.leases -= 1

    @contextmanager
    def pulling(self, image_id: Digest, tick: Callable[[], None]) -> Iterator[None]:
        with self._alone(image_id, tick):
            yield

    def has_image(self, image_id: Digest) -> bool:
        return image_id in self.images

    def wanted(self, blobs: Sequence[Digest]) -> bool:
        return False

    def config_bytes(self, image_id: Digest, /) -> bytes:
        try:
            return self.images[image_id].config
        except KeyError:
            raise NotFound(str(image_id), "no such image", hint="pull it") from None

    def named(self, name: str) -> tuple[Digest, Digest] | None:
        image_id = self.names.get(name)
        return (image_id, self.images[image_id].digest) if image_id else None

    def ensure_layer(
        self,
        layer: LayerRequest,
        open_blob: Callable[[], AbstractContextManager[Reader]],
        *,
        meter: Meter,
        tick: Callable[[], None],
    ) -> bool:
        with self._alone(layer.chain_id, tick):
            if layer.chain_id in self.layers:
                meter.note("already there")
                return False
            with open_blob() as reader:
                packed = _read(reader, layer.size)
            data = _unpacked(packed, layer)
            with self._changed:
                self.layers[layer.chain_id] = data
        return True

    def put_image(self, image: ImageRecord) -> None:
        with self._changed:
            for layer in image.layers:
                if layer not in self.layers:
                    raise NotFound(str(layer), "no such layer", hint="pull the image again")
            self.images[image.id] = image
            self.names.update(dict.fromkeys(image.names, image.id))

    @contextmanager
    def _alone(self, wanted: Digest, tick: Callable[[], None]) -> Iterator[None]:
        with self._changed:
            while wanted in self._busy:
                self._changed.wait(_WAIT)
                tick()
            self._busy.add(wanted)
        try:
            yield
        finally:
            with self._changed:
                self._busy.discard(wanted)
                self._changed.notify_all()


def _read(reader: Reader, size: int) -> bytes:
    collected = bytearray()
    buffer = bytearray(min(max(size, 1), limits.MIB))
    while count := reader.readinto(buffer):
        collected += buffer[:count]
    return bytes(collected)


class _Unpacker(Protocol):
    def decompress(self, data: bytes, /) -> bytes: ...


def _unpacked(packed: bytes, layer: LayerRequest) -> bytes:
    unpacker: _Unpacker | None = None
    if layer.compression == "gzip":
        unpacker = zlib.decompressobj(wbits=31)
    elif layer.compression == "zstd":
        import zstandard

        unpacker = zstandard.ZstdDecompressor().decompressobj()
    data = unpacker.decompress(packed) if unpacker else packed
    if f"{layer.diff_id.algorithm}:{hashlib.new(layer.diff_id.algorithm, data).hexdigest()}" != layer.diff_id:
        raise Corrupt(
            f"layer {layer.diff_id}", "its content has another digest", hint="have the image pushed anew"
        )
    return data
