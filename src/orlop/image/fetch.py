"""One image from one Source into a Sink: manifest, config, then all layers at once.

Blocking work runs in threads below a task group. What fails or is cancelled ends the others at once, because
closing the source breaks their connections.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import functools
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

from orlop.image.config import ImageConfig
from orlop.image.digest import Digest, chain_ids
from orlop.image.manifest import Descriptor, Index, Manifest, check_image, compression, parse
from orlop.image.platform import Platform, choices
from orlop.image.policy.gate import Gate
from orlop.image.reference import Reference
from orlop.image.sink import Document, ImageRecord, LayerRequest, Sink
from orlop.image.transport.source import BadBytes, RawManifest, Source
from orlop.kit import limits
from orlop.kit.errors import Cancelled, Corrupt, LimitExceeded, NotFound, Unsupported
from orlop.kit.progress import Progress
from orlop.kit.tasks import Cancellation, in_thread

_log = logging.getLogger(__name__)
INDEX = "index"  # the kind of document that an index is
_SHORT = 12  # hex digits of a digest in a meter's label
P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True)
class Pulled:
    """What a pull led to. `fetched_layers` and `bytes` (as packed) count what came over the network."""

    id: Digest
    digest: Digest
    name: str
    fetched_layers: int = 0
    bytes: int = 0


@dataclass(frozen=True)
class _Found:
    """The manifest for the wanted platform, and the indexes that led to it."""

    raw: RawManifest
    manifest: Manifest
    above: tuple[RawManifest, ...] = ()


class Fetch:
    """One use only: `await Fetch(...).run()`."""

    def __init__(
        self,
        reference: Reference,
        source: Source,
        sink: Sink,
        cancellation: Cancellation,
        *,
        wanted: Platform,
        explicit_platform: bool,
        parallel: int,
        progress: Progress,
        gate: Gate | None = None,
    ) -> None:
        self._reference = reference
        self._subject = reference.canonical
        self._source = source
        self._sink = sink
        self._cancellation = cancellation
        self._wanted = wanted
        self._explicit_platform = explicit_platform
        self._slots = asyncio.Semaphore(parallel)
        # Threads of its own: the loop's few are for everybody's short work, and a stalled registry would
        # keep them from it.
        self._threads = concurrent.futures.ThreadPoolExecutor(parallel + 1, thread_name_prefix="pull")
        self._progress = progress
        self._gate = gate
        self._evidence: tuple[Document, ...] = ()

    async def run(self, there: Pulled | None = None) -> Pulled:
        """Pull; `there` is an image to be content with where the reference still leads to it."""
        try:
            return await self._run(there)
        finally:
            self._threads.shutdown(wait=False)  # their work has ended: `_blocking` waited for it

    async def _run(self, there: Pulled | None) -> Pulled:
        if (
            there
            and self._reference.tag
            and await self._blocking(self._source.current_digest) == there.digest
        ):
            return there
        found = await self._choose(await self._blocking(self._source.manifest), depth=0)
        if there and found.raw.digest == there.digest:
            return there
        check_image(found.manifest, self._subject)
        if self._gate is not None:
            chain = (*found.above, found.raw)
            self._evidence = await self._blocking(self._gate.admit, self._source, chain)
        async with self._held(self._sink.lease()):
            image_id = found.manifest.config.digest
            async with self._held(self._sink.pulling(image_id, self._cancellation.check)):
                return await self._into_sink(found)

    async def _choose(self, raw: RawManifest, *, depth: int, media_type: str = "") -> _Found:
        """Walk down the indexes to the manifest that fits the platform."""
        parsed = parse(raw.data, media_type or raw.media_type, self._subject)
        if isinstance(parsed, Manifest):
            return _Found(raw, parsed)
        if depth == limits.INDEX_DEPTH:
            raise LimitExceeded(
                self._subject, f"more than {depth} indexes within each other", hint="name an image inside"
            )
        return await self._choose_below(parsed, raw, depth)

    async def _choose_below(self, index: Index, raw: RawManifest, depth: int) -> _Found:
        refused: NotFound | None = None
        for entry in choices(index, self._wanted, self._subject)[: limits.INDEX_CHOICES]:
            child = await self._blocking(self._source.manifest, entry.digest)
            if len(child.data) != entry.size:
                raise Corrupt(
                    self._subject,
                    f"manifest {entry.digest} has {len(child.data)} bytes, its index says {entry.size}",
                    hint="the index is broken where it was built: have it pushed anew",
                )
            try:
                found = await self._choose(child, depth=depth + 1, media_type=entry.media_type)
            except NotFound as error:
                refused = error
                continue
            return _Found(found.raw, found.manifest, (_typed(raw, index), *found.above))
        assert refused is not None  # choices() raises where it has none
        raise refused

    async def _into_sink(self, found: _Found) -> Pulled:
        manifest = found.manifest
        data, size = await self._blocking(self._config_bytes, manifest.config)
        config = ImageConfig.from_json(data, f"{self._subject}: config")
        self._check_config(config, manifest)
        chains = chain_ids(config.diff_ids)
        record = ImageRecord(
            id=manifest.config.digest,
            digest=found.raw.digest,
            manifest=found.raw.data,
            config=data,
            layers=chains,
            names=(self._reference.canonical,),
            digests=(*(above.digest for above in found.above), found.raw.digest),
            documents=(
                *(Document(INDEX, above.media_type, above.digest, above.data) for above in found.above),
                *self._evidence,
            ),
        )
        fetched = 0 if await self._blocking(self._recorded, record, manifest) else -1
        size += len(found.raw.data)
        if fetched < 0:
            layers = await self._layers(self._requests(manifest, config))
            fetched = len(layers)
            size += sum(layer.size for layer in layers)
            await self._blocking(self._sink.put_image, record)
        return Pulled(record.id, record.digest, self._reference.canonical, fetched, size)

    def _recorded(self, record: ImageRecord, manifest: Manifest) -> bool:
        """Point the names at an image that the sink has already, blobs included; False where it has not."""
        if not self._sink.has_image(record.id):
            return False
        if self._sink.wanted([layer.digest for layer in manifest.layers]):
            return False
        try:
            self._sink.put_image(record)
        except NotFound:  # a layer went while we looked
            return False
        return True

    def _config_bytes(self, blob: Descriptor) -> tuple[bytes, int]:
        """The config, and how many bytes of it came over the network."""
        if self._sink.has_image(blob.digest):
            with contextlib.suppress(NotFound):  # it went while we looked
                return self._sink.config_bytes(blob.digest), 0
        data = self._fetched_config(blob)
        return data, len(data)

    def _fetched_config(self, blob: Descriptor) -> bytes:
        if blob.size > limits.IMAGE_CONFIG_SIZE:
            raise LimitExceeded(
                self._subject,
                f"its config has {blob.size} bytes, at most {limits.IMAGE_CONFIG_SIZE} are read",
                hint="have the image built with less in its labels and history",
            )
        meter = self._progress.meter(f"config {blob.digest.encoded[:_SHORT]}", blob.size)
        room = memoryview(bytearray(blob.size + 1))
        filled = 0
        try:
            with self._source.open_blob(blob, meter) as reader:
                while count := reader.readinto(room[filled:]):
                    filled += count
        finally:
            meter.done()
        return bytes(room[:filled])

    def _check_config(self, config: ImageConfig, manifest: Manifest) -> None:
        if len(config.diff_ids) != len(manifest.layers):
            raise Corrupt(
                self._subject,
                f"its manifest has {len(manifest.layers)} layers, its config {len(config.diff_ids)} diff_ids",
                hint="the image is broken where it was built: have it built and pushed anew",
            )
        if config.os != self._wanted.os:
            raise Unsupported(
                self._subject, f"is an image for {config.os[:40]}", hint=f"choose one for {self._wanted.os}"
            )
        actual = Platform.of(config.os, config.architecture, config.variant)
        if config.architecture and actual.architecture != self._wanted.architecture:
            if self._explicit_platform:
                raise NotFound(
                    self._subject,
                    f"has no image for {self._wanted}; it has {actual}",
                    hint="give --platform that, or choose another image",
                )
            _log.warning("%s is for %s, not for %s", self._subject, actual, self._wanted)

    def _requests(self, manifest: Manifest, config: ImageConfig) -> list[tuple[LayerRequest, Descriptor]]:
        chains = chain_ids(config.diff_ids)
        return [
            (
                LayerRequest(
                    chain_id=chains[place],
                    parent=chains[place - 1] if place else None,
                    diff_id=config.diff_ids[place],
                    compression=compression(blob, self._subject),
                    blob=blob.digest,
                    size=blob.size,
                ),
                blob,
            )
            for place, blob in enumerate(manifest.layers)
        ]

    async def _layers(self, wanted: list[tuple[LayerRequest, Descriptor]]) -> list[LayerRequest]:
        """Ensure all layers, several at once; returns those that had to be fetched."""
        fetched: list[LayerRequest] = []

        async def one(request: LayerRequest, blob: Descriptor) -> None:
            async with self._slots:
                if await self._blocking(self._ensure, request, blob):
                    fetched.append(request)

        try:
            async with asyncio.TaskGroup() as group:
                for request, blob in wanted:
                    group.create_task(one(request, blob))
        except BaseExceptionGroup as errors:
            raise _cause(errors) from None
        return fetched

    def _ensure(self, request: LayerRequest, blob: Descriptor) -> bool:
        meter = self._progress.meter(f"layer {blob.digest.encoded[:_SHORT]}", blob.size)
        try:
            while True:
                try:
                    return self._sink.ensure_layer(
                        request,
                        lambda: self._source.open_blob(blob, meter),
                        meter=meter,
                        tick=self._cancellation.check,
                    )
                except BadBytes as error:
                    if not error.elsewhere:  # ends: each time one place fewer is left
                        raise
                    _log.warning("fetching it again from elsewhere: %s", error)
        finally:
            meter.done()

    @contextlib.asynccontextmanager
    async def _held(self, lock: AbstractContextManager[None]) -> AsyncIterator[None]:
        await self._blocking(lock.__enter__)
        try:
            yield
        finally:
            await in_thread(lock.__exit__, None, None, None)

    async def _blocking(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `function` in a thread; a cancelled caller breaks its connections and waits for its end."""
        work = functools.partial(function, *args, **kwargs)
        inner = asyncio.get_running_loop().run_in_executor(self._threads, work)
        try:
            return await asyncio.shield(inner)
        except asyncio.CancelledError:
            self._cancellation.cancel()
            self._source.close()
            await asyncio.wait([inner])
            if not inner.cancelled():
                inner.exception()  # retrieved: the cancellation is what counts
            raise


def _typed(raw: RawManifest, parsed: Index) -> RawManifest:
    """With the media type that the document was read as."""
    return RawManifest(raw.data, parsed.media_type, raw.digest)


def _cause(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """The error that ended the group: what the others met while they were cancelled says nothing."""
    leaves = [
        leaf
        for error in errors.exceptions
        for leaf in ([_cause(error)] if isinstance(error, BaseExceptionGroup) else [error])
    ]
    return next((leaf for leaf in leaves if not isinstance(leaf, Cancelled)), leaves[0])
