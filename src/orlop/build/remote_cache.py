"""A build cache in a registry (or any other transport): `--cache-to` and `--cache-from`.

One OCI manifest with the artifact type below. Its layers are those that steps made, each with the keys of
those steps in an annotation; its config says the same for all steps, those that changed nothing included, and
what a config needs of each (diff ID, creation time). Importing fetches these two documents; a layer is
fetched when a step's key hits, and verified as any pulled layer is. Whoever can write the repository decides
what a hit brings, as with any cache: import only from repositories whose writers are trusted.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from orlop.build.document import layer_type
from orlop.build.model import OCI, CachedStep, LayerOf
from orlop.image import documents
from orlop.image.digest import Digest
from orlop.image.manifest import OCI_MANIFEST, Descriptor, Manifest, parse
from orlop.image.sink import LayerRequest
from orlop.image.transport import locate
from orlop.image.transport.open import OpenOptions, Transports
from orlop.image.transport.source import RawManifest, Source
from orlop.kit import limits
from orlop.kit.errors import Corrupt, InvalidInput, LimitExceeded, NotFound, OrlopError
from orlop.kit.progress import QuietMeter
from orlop.store.store import Store

ARTIFACT = "application/vnd.orlop.build.cache.v1"
_CONFIG = "application/vnd.orlop.build.cache.config.v1+json"
KEYS = "org.orlop.build.keys"
_KEY = re.compile(r"sha256:[0-9a-f]{64}\Z")
_CREATED = re.compile(r"[0-9TZ:.+-]{20,40}\Z")


def export(
    store: Store, where: str, steps: Sequence[CachedStep], *, note: Callable[[str], None] = lambda text: None
) -> Digest:
    """Write the cache of a build to `where`, instead of what was there; its manifest's digest.

    Raises InvalidInput, and what the destination raises.
    """
    entries: list[dict[str, object]] = []
    layers: dict[str, tuple[LayerOf, list[str]]] = {}
    for step in steps:
        if step.layer is not None and store.blob_size(Digest(step.layer.digest)) is None:
            note(f"a layer is not kept as it was pushed, and left out: {step.layer.digest}")
            continue
        entry: dict[str, object] = {"keys": list(step.keys), "created": step.created}
        if step.layer is not None:
            entry |= {"layer": step.layer.digest, "diff_id": step.layer.diff_id}
            layers.setdefault(step.layer.digest, (step.layer, []))[1].extend(step.keys)
        entries.append(entry)
    config = json.dumps({"version": 1, "steps": entries}, separators=(",", ":")).encode()
    described = Descriptor(_CONFIG, Digest.of(config), len(config))
    manifest = json.dumps(_manifest(described, [layers[digest] for digest in sorted(layers)])).encode()
    digest = Digest.of(manifest)
    target = Transports().destination(locate.parse(where), OpenOptions())
    try:
        for layer, _ in layers.values():
            blob = Descriptor(layer_type(layer.compression, OCI), Digest(layer.digest), layer.size)
            if not target.has_blob(blob):
                with store.open_blob(blob.digest) as reader:
                    target.put_blob(blob, reader, QuietMeter())
        if not target.has_blob(described):
            target.put_blob(described, _Bytes(config), QuietMeter())
        target.put_manifest(RawManifest(manifest, OCI_MANIFEST, digest))
        target.commit(digest)
    finally:
        target.close()
    return digest


def _manifest(config: Descriptor, layers: Sequence[tuple[LayerOf, list[str]]]) -> dict[str, object]:
    return {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": ARTIFACT,
        "config": {"mediaType": config.media_type, "digest": config.digest, "size": config.size},
        "layers": [
            {
                "mediaType": layer_type(layer.compression, OCI),
                "digest": layer.digest,
                "size": layer.size,
                "annotations": {KEYS: ",".join(keys)},
            }
            for layer, keys in layers
        ],
    }


class Imported:
    """The steps of caches elsewhere. One that cannot be read is a note, not an error: it only costs time."""

    def __init__(
        self,
        store: Store,
        places: Sequence[str],
        note: Callable[[str], None],
        options: OpenOptions | None = None,
    ) -> None:
        self._store = store
        self._steps: dict[str, Step] = {}
        self._sources: list[Source] = []
        for place in places:
            where = locate.parse(place)
            try:
                source = Transports().source(where, options or OpenOptions())
                self._sources.append(source)
                found = _read(store, source, place)
            except NotFound:
                note(f"no cache at {place} yet")
            except OrlopError as error:
                note(f"the cache at {place} is not used: {error}")
            else:
                self._steps = {**found, **self._steps}

    def step(self, key: str) -> Step | None:
        return self._steps.get(key)

    def close(self) -> None:
        for source in self._sources:
            source.close()


@dataclass(frozen=True)
class Step:
    """One step of an imported cache."""

    store: Store
    source: Source
    created: str
    blob: Descriptor | None = None
    diff_id: str = ""
    compression: str = ""

    def bring(self, parent: str | None) -> LayerOf | None:
        """See model.RemoteStep. Raises what fetching and unpacking a layer raises."""
        if self.blob is None:
            return None
        blob = self.blob
        below = None if parent is None else Digest(parent)
        diff_id = Digest(self.diff_id)
        chain = diff_id if below is None else Digest.of(f"{below} {diff_id}".encode())
        request = LayerRequest(chain, below, diff_id, self.compression, blob.digest, blob.size)
        self.store.ensure_layer(
            request,
            lambda: self.source.open_blob(blob, QuietMeter()),
            meter=QuietMeter(),
            tick=lambda: None,
        )
        return LayerOf(chain, diff_id, blob.digest, blob.size, self.compression)


def _read(store: Store, source: Source, place: str) -> dict[str, Step]:
    raw = source.manifest()
    manifest = parse(raw.data, raw.media_type, place)
    if not isinstance(manifest, Manifest) or manifest.config.media_type != _CONFIG:
        raise InvalidInput(place, "holds no build cache", hint="name what --cache-to has written")
    if manifest.config.size > limits.IMAGE_CONFIG_SIZE:
        raise LimitExceeded(place, "its list of steps is too long", hint="export it anew")
    document = documents.read_object(_all(source, manifest.config), place)
    entries = document.get("steps")
    if not isinstance(entries, list) or len(entries) > limits.CACHE_ENTRIES:
        raise Corrupt(place, "its list of steps is malformed", hint="export it anew")
    blobs = {str(layer.digest): layer for layer in manifest.layers}
    found: dict[str, Step] = {}
    for entry in entries:
        step = _step(store, source, entry, blobs, place)
        found.update({key: step for key in entry["keys"] if _KEY.match(str(key))})
    return found


def _step(store: Store, source: Source, entry: Any, blobs: dict[str, Descriptor], place: str) -> Step:
    try:
        created = str(entry["created"])
        if not isinstance(entry["keys"], list) or not _CREATED.match(created):
            raise ValueError(created)
        if entry.get("layer") is None:
            return Step(store, source, created)
        blob = blobs[entry["layer"]]
        compression = {"gzip": "gzip", "zstd": "zstd"}.get(blob.media_type.rpartition("+")[2], "")
        return Step(store, source, created, blob, Digest(str(entry["diff_id"])), compression)
    except (KeyError, TypeError, AttributeError, ValueError, InvalidInput) as error:
        raise Corrupt(place, "its list of steps is malformed", hint="export it anew") from error


def _all(source: Source, blob: Descriptor) -> bytes:
    data = bytearray()
    buffer = bytearray(64 * limits.KIB)
    with source.open_blob(blob, QuietMeter()) as reader:
        while count := reader.readinto(buffer):
            data += buffer[:count]
            if len(data) > blob.size:
                raise Corrupt(str(blob.digest), "is longer than it says", hint="export the cache anew")
    return bytes(data)


class _Bytes:
    def __init__(self, data: bytes) -> None:
        self._rest = memoryview(data)

    def readinto(self, buffer: bytearray | memoryview, /) -> int:
        count = min(len(buffer), len(self._rest))
        memoryview(buffer)[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count
