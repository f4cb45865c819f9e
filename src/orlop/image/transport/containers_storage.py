"""containers-storage:[[DRIVER@ROOT+RUN]]NAME: an image of podman, buildah or CRI-O, read for migration.

Layers lie there unpacked; each is put together to the very tar that it was (tar_split.py) and checked. So the
manifest that is given out names uncompressed layers, and has a digest of its own where the image was pulled
with packed ones; its config, and so the ID, stay what they were.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from orlop.image import documents, manifest
from orlop.image.config import ImageConfig
from orlop.image.digest import Digest
from orlop.image.manifest import Descriptor, Manifest
from orlop.image.reference import Reference
from orlop.image.sink import Reader
from orlop.image.transport import tar_split
from orlop.image.transport.layout.files import told
from orlop.image.transport.layout.reading import Pieces, Raw, Turn, VerifiedReader, checked
from orlop.image.transport.source import RawManifest
from orlop.image.transport.storage import conf, records
from orlop.image.transport.storage.records import StoredImage, StoredLayer
from orlop.kit import files, limits
from orlop.kit.errors import Corrupt, InvalidInput, NotFound, Unsupported
from orlop.kit.progress import Meter
from orlop.kit.tasks import Cancellation

_PLAIN = {
    manifest.OCI_MANIFEST: "application/vnd.oci.image.layer.v1.tar",
    manifest.DOCKER_MANIFEST: "application/vnd.docker.image.rootfs.diff.tar",
}
_HEX = frozenset("0123456789abcdef")
_SHORTEST_ID = 4
_NAMES_TOLD = 10


@dataclass(frozen=True)
class _Found:
    """The image as it is given out; `original` is the digest that it was pulled with."""

    raw: RawManifest
    original: Digest
    config: Descriptor
    config_data: bytes
    layers: dict[Digest, StoredLayer]


class ContainersStorageSource:
    """transport.Source. `place` as conf.stores has it; `name` a reference, or an ID or its first digits.

    Raises NotFound, InvalidInput, Corrupt, Unsupported, TimedOut.
    """

    def __init__(self, place: str, name: str, cancellation: Cancellation | None = None) -> None:
        self._subject = f"containers-storage:{f'[{place}]' if place else ''}{name}"
        self._turn = Turn(cancellation)
        self._lock = threading.Lock()
        self._stores = conf.stores(place)
        self._image = _choose(
            [image for store in self._stores for image in records.images(store, self._turn.check)],
            name,
            self._subject,
        )
        self._found: _Found | None = None

    def manifest(self, digest: Digest | None = None) -> RawManifest:
        raw = self._read().raw
        if digest not in (None, raw.digest):
            raise NotFound(f"{self._subject}: {digest}", "no such manifest", hint="name the image's own")
        return raw

    def current_digest(self) -> Digest | None:
        return self._read().raw.digest

    @contextmanager
    def open_blob(self, blob: Descriptor, meter: Meter) -> Iterator[Reader]:
        found = self._read()
        if blob.digest == found.config.digest:
            yield self._reader(blob, Pieces(iter([found.config_data])), meter)
            return
        layer = found.layers.get(blob.digest)
        if layer is None:
            raise NotFound(f"{self._subject}: {blob.digest}", "no such blob", hint="pull the image again")
        with self._assembled(layer) as raw:
            yield self._reader(blob, raw, meter)

    def tagged(self, tag: str) -> RawManifest | None:
        return None

    def referrers(self, digest: Digest) -> tuple[Descriptor, ...]:
        return ()

    def signatures(self, digest: Digest) -> tuple[bytes, ...]:
        """Only where the manifest is given out as it was pulled: others sign another digest."""
        if digest != self._read().raw.digest or digest != self._read().original:
            return ()
        sizes = _signature_sizes(self._image, digest)
        try:
            data = records.big_data(self._image, f"signature-{digest.encoded}", limits.SIGNATURES_SIZE)
        except NotFound:
            return ()
        if sum(sizes) != len(data) or len(sizes) > limits.SIGNATURES:
            raise Corrupt(self._subject, "its signatures have other sizes", hint="pull it again")
        found, at = [], 0
        for size in sizes:
            found.append(data[at : at + size])
            at += size
        return tuple(found)

    def close(self) -> None:
        self._turn.close()

    def _reader(self, blob: Descriptor, raw: Raw, meter: Meter) -> VerifiedReader:
        return VerifiedReader(blob, raw, self._turn, meter, self._subject)

    @contextmanager
    def _assembled(self, layer: StoredLayer) -> Iterator[Raw]:
        """Under the layers' lock, so that nobody removes it meanwhile."""
        subject = f"{self._subject}: layer {layer.id}"
        path = os.path.join(layer.store.layers, layer.tar_split)
        with told(subject), records.reading(layer.store.layers, "layers.lock", self._turn.check):
            try:
                split = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            except FileNotFoundError:
                raise Unsupported(
                    subject,
                    "there is no record of its archive (tar-split)",
                    hint="export it with: podman save -o FILE IMAGE",
                ) from None
            try:
                with files.folder(layer.store.diff(layer.id)) as root:
                    yield Pieces(tar_split.assembled(split, root, subject, self._turn.check))
            finally:
                os.close(split)

    def _read(self) -> _Found:
        with self._lock:
            if self._found is None:
                self._turn.check()
                self._found = self._read_image()
            return self._found

    def _read_image(self) -> _Found:
        data = records.big_data(self._image, "manifest", limits.MANIFEST_SIZE)
        original = Digest.of(data)
        recorded = self._image.data_digests.get("manifest", str(original))
        if recorded != original:
            raise Corrupt(
                f"{self._subject}: manifest",
                f"has the digest {original}, recorded is {recorded}",
                hint="pull the image again",
            )
        parsed = manifest.parse(data, subject=self._subject)
        if not isinstance(parsed, Manifest):
            raise Unsupported(
                self._subject, "is a list of images", hint="name the image of one platform by its ID"
            )
        manifest.check_image(parsed, self._subject)
        config_data = checked(
            records.big_data(self._image, str(parsed.config.digest), limits.IMAGE_CONFIG_SIZE),
            parsed.config.digest,
            f"{self._subject}: config",
        )
        layers = self._layers(ImageConfig.from_json(config_data, f"{self._subject}: config"), parsed)
        raw = _rewritten(data, parsed, layers)
        by_diff = {layer.diff: layer for layer in layers if layer.diff is not None}
        return _Found(raw, original, parsed.config, config_data, by_diff)

    def _layers(self, config: ImageConfig, parsed: Manifest) -> list[StoredLayer]:
        known: dict[str, StoredLayer] = {}
        for store in reversed(self._stores):
            known.update(records.layers(store, self._turn.check))
        found = records.chain(self._image.layer, known, self._subject)
        if tuple(layer.diff for layer in found) != config.diff_ids or len(found) != len(parsed.layers):
            raise Corrupt(
                self._subject,
                "the storage has other layers for it than its config names",
                hint="pull the image again with the tool that has it",
            )
        return found


def _rewritten(data: bytes, parsed: Manifest, layers: list[StoredLayer]) -> RawManifest:
    """The manifest with its layers as they can be given out; as it is where they are that already."""
    plain = _PLAIN[parsed.media_type]
    entries = [{"mediaType": plain, "digest": str(layer.diff), "size": _size(layer)} for layer in layers]
    before = [(layer.media_type, str(layer.digest), layer.size) for layer in parsed.layers]
    if before == [(entry["mediaType"], entry["digest"], entry["size"]) for entry in entries]:
        return RawManifest(data, parsed.media_type, Digest.of(data))
    document = documents.read_object(data, "manifest")
    document["layers"] = entries
    text = json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()
    return RawManifest(text, parsed.media_type, Digest.of(text))


def _size(layer: StoredLayer) -> int:
    if layer.size < 0:
        raise Unsupported(
            f"layer {layer.id}", "its size is not recorded", hint="export it with: podman save -o FILE IMAGE"
        )
    return layer.size


def _signature_sizes(image: StoredImage, digest: Digest) -> list[int]:
    if not image.metadata:
        return []
    sizes = documents.mapping(
        documents.read_object(image.metadata.encode(), "metadata"), "signatures-sizes", "metadata"
    ).get(digest)
    return [size for size in sizes if type(size) is int and size >= 0] if isinstance(sizes, list) else []


def _choose(images: list[StoredImage], name: str, subject: str) -> StoredImage:
    """By its ID (with or without `@`), its first digits, or its name; the first store's counts."""
    text = name.removeprefix("@").removeprefix("sha256:") if name.startswith("@") else name
    if not text:
        raise InvalidInput(subject, "names no image", hint=_told(images))
    if _HEX.issuperset(text) and len(text) >= _SHORTEST_ID:
        found = {image.id: image for image in reversed(images) if image.id.startswith(text)}
        if len(found) == 1:
            return next(iter(found.values()))
        if len(found) > 1:
            raise InvalidInput(subject, f"is the beginning of {len(found)} IDs", hint="write more of it")
        if len(text) == len("0" * 64):
            raise NotFound(subject, "no such image", hint=_told(images))
    wanted = Reference.parse(text)
    names = {wanted.canonical, f"localhost/{text}", f"localhost/{text}:latest"}
    for image in images:
        if wanted.digest is None:
            if names.intersection(image.names):
                return image
        elif _is_of(image, wanted):
            return image
    raise NotFound(subject, "no such image", hint=_told(images))


def _is_of(image: StoredImage, wanted: Reference) -> bool:
    """NAME@DIGEST: the digest is one of its manifests', the name one of its names' repositories."""
    digests = {image.digest, *image.data_digests.values()}
    repositories = {entry.rpartition("@")[0] or entry.rpartition(":")[0] for entry in image.names}
    return str(wanted.digest) in digests and (wanted.name in repositories or not repositories)


def _told(images: list[StoredImage]) -> str:
    names = [name for image in images for name in image.names]
    more = ", ..." if len(names) > _NAMES_TOLD else ""
    return f"it holds {', '.join(names[:_NAMES_TOLD])}{more}" if names else "it holds no image with a name"
