"""docker-archive:PATH[:REF]: what `docker save` writes, of old Dockers and of new ones.

manifest.json says which images there are (docker/image/tarexport). New Dockers write an OCI image layout into
the same archive: where that says the same of an image, its own manifest is given out, and so its digest is
kept; otherwise a manifest is made up of its uncompressed layers, as skopeo does. We write both forms.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from orlop.image import documents, manifest
from orlop.image.config import ImageConfig
from orlop.image.digest import Digest
from orlop.image.manifest import Descriptor, Manifest
from orlop.image.reference import Reference
from orlop.image.sink import Reader
from orlop.image.transport import oci
from orlop.image.transport.destination import Abilities
from orlop.image.transport.layout import entries, unpacked
from orlop.image.transport.layout.files import told
from orlop.image.transport.layout.reading import Pieces, Region, Turn, VerifiedReader, checked
from orlop.image.transport.layout.staging import blob_name
from orlop.image.transport.layout.tar_index import ArchiveFiles
from orlop.image.transport.layout.tar_write import TarWriter
from orlop.image.transport.source import RawManifest
from orlop.kit import limits
from orlop.kit.errors import Corrupt, InvalidInput, NotFound, Unsupported
from orlop.kit.progress import Meter
from orlop.kit.tasks import Cancellation

_MANIFEST = "manifest.json"
_REPOSITORIES = "repositories"
_CONFIG_TYPE = "application/vnd.docker.container.image.v1+json"
_LAYER_TYPE = "application/vnd.docker.image.rootfs.diff.tar"
_CONTAINERD_NAME = "io.containerd.image.name"
_NAMES_TOLD = 10


@dataclass(frozen=True)
class _Image:
    """One object of manifest.json."""

    config: str
    tags: tuple[str, ...]
    layers: tuple[str, ...]


@dataclass(frozen=True)
class _Blob:
    """Where a blob of the chosen image lies, and how its bytes there are packed against its digest."""

    member: str
    packed: str = ""


class DockerArchiveSource:
    """transport.Source. `reference`: a name (`busybox:1`), `@N` (N-th image, from 0) or "" for the only."""

    def __init__(self, path: str, reference: str = "", cancellation: Cancellation | None = None) -> None:
        self._subject = f"docker-archive:{path}"
        self._turn = Turn(cancellation)
        self._lock = threading.Lock()
        self._files = ArchiveFiles(path, self._subject, self._turn)
        self._made: tuple[RawManifest, dict[Digest, _Blob]] | None = None
        self._reference = reference

    def manifest(self, digest: Digest | None = None) -> RawManifest:
        raw, _ = self._read_image()
        if digest not in (None, raw.digest):
            raise NotFound(f"{self._subject}: {digest}", "no such manifest", hint="name the image's own")
        return raw

    def current_digest(self) -> Digest | None:
        return self._read_image()[0].digest

    @contextmanager
    def open_blob(self, blob: Descriptor, meter: Meter) -> Iterator[Reader]:
        self._turn.check()
        place = self._read_image()[1].get(blob.digest)
        if place is None:
            raise NotFound(f"{self._subject}: {blob.digest}", "no such blob", hint="the archive is not whole")
        with told(self._subject), self._files.open(place.member) as region:
            raw = Pieces(self._unpacked(region, place)) if place.packed else region
            yield VerifiedReader(blob, raw, self._turn, meter, self._subject)

    def tagged(self, tag: str) -> RawManifest | None:
        return None

    def referrers(self, digest: Digest) -> tuple[Descriptor, ...]:
        return ()

    def signatures(self, digest: Digest) -> tuple[bytes, ...]:
        return ()

    def close(self) -> None:
        self._turn.close()
        self._files.close()

    def tags(self) -> tuple[str, ...]:
        """The names of all images in the archive."""
        return tuple(dict.fromkeys(tag for image in self._images() for tag in image.tags))

    def _images(self) -> list[_Image]:
        try:
            data = self._read(_MANIFEST, limits.MANIFEST_SIZE)
        except NotFound:
            if self._files.has(_REPOSITORIES):
                raise Unsupported(
                    self._subject,
                    "was written by a Docker older than 1.10",
                    hint="load it into a newer Docker and save it again",
                ) from None
            raise NotFound(
                self._subject, f"is no archive of docker save: it has no {_MANIFEST}", hint="see the path"
            ) from None
        return _read_images(data, f"{self._subject}: {_MANIFEST}")

    def _read_image(self) -> tuple[RawManifest, dict[Digest, _Blob]]:
        with self._lock:
            if self._made is None:
                image = _choose(self._images(), self._reference, self._subject)
                config = self._read(image.config, limits.IMAGE_CONFIG_SIZE)
                self._made = self._from_layout(image, config) or self._made_up(image, config)
            return self._made

    def _made_up(self, image: _Image, data: bytes) -> tuple[RawManifest, dict[Digest, _Blob]]:
        """A manifest of uncompressed layers, whose digests the config says."""
        subject = f"{self._subject}: {image.config}"
        config = ImageConfig.from_json(data, subject)
        if len(config.diff_ids) != len(image.layers):
            raise Corrupt(
                subject,
                f"has {len(config.diff_ids)} diff_ids, {_MANIFEST} {len(image.layers)} layers",
                hint="the archive is broken where it was made: save it anew",
            )
        digest = Digest.of(data)
        blobs = {digest: _Blob(image.config)}
        layers = []
        sizes: dict[Digest, int] = {}
        for diff_id, member in zip(config.diff_ids, image.layers, strict=True):
            if diff_id not in sizes:
                blobs[diff_id], sizes[diff_id] = self._measured(member)
            layers.append({"mediaType": _LAYER_TYPE, "size": sizes[diff_id], "digest": diff_id})
        document = {
            "schemaVersion": 2,
            "mediaType": manifest.DOCKER_MANIFEST,
            "config": {"mediaType": _CONFIG_TYPE, "size": len(data), "digest": digest},
            "layers": layers,
        }
        text = json.dumps(document, indent=3).encode()
        return RawManifest(text, manifest.DOCKER_MANIFEST, Digest.of(text)), blobs

    def _measured(self, member: str) -> tuple[_Blob, int]:
        """A layer, and its size when unpacked: a packed one has to be read for that."""
        with told(self._subject), self._files.open(member) as region:
            buffer = bytearray(8)
            head = bytes(buffer[: region.readinto(memoryview(buffer))])
            packed = unpacked.compression_of(head)
            size = region.size
        if not packed:
            return _Blob(member), size
        place = _Blob(member, packed)
        with told(self._subject), self._files.open(member) as region:
            return place, sum(len(piece) for piece in self._unpacked(region, place))

    def _unpacked(self, region: Region, place: _Blob) -> Iterator[bytes]:
        subject = f"{self._subject}: {place.member}"
        most = limits.LAYER_UNPACKED
        return unpacked.pieces(region.stream(), region.size, most, subject, self._turn)

    def _from_layout(self, image: _Image, config: bytes) -> tuple[RawManifest, dict[Digest, _Blob]] | None:
        """The image's own manifest, where the archive is a layout too and both say the same of it."""
        if not (self._files.has(entries.LAYOUT) and self._files.has(entries.INDEX)):
            return None
        wanted = Digest.of(config)
        index = entries.read_index(self._read(entries.INDEX, limits.MANIFEST_SIZE), self._subject)
        for entry in entries.walk(index, self._document, self._subject):
            if entry.media_type not in manifest.MANIFESTS:
                continue
            try:
                data = self._document(entry.digest)
            except NotFound:
                continue
            found = manifest.parse(data, entry.media_type, self._subject)
            if (
                isinstance(found, Manifest)
                and found.config.digest == wanted
                and self._same_layers(image, found)
            ):
                blobs = {blob.digest: _Blob(blob_name(blob.digest)) for blob in found.layers}
                blobs[wanted] = _Blob(image.config)
                return RawManifest(data, found.media_type, entry.digest), blobs
        return None

    def _same_layers(self, image: _Image, found: Manifest) -> bool:
        names = [blob_name(layer.digest) for layer in found.layers]
        there = all(self._files.has(name) for name in (*names, *image.layers))
        return there and [self._files.resolved(name) for name in image.layers] == names

    def _document(self, digest: Digest) -> bytes:
        return checked(self._read(blob_name(digest), limits.MANIFEST_SIZE), digest, self._subject)

    def _read(self, name: str, limit: int) -> bytes:
        self._turn.check()
        with told(self._subject), self._files.open(name) as region:
            return region.read_all(limit, f"{self._subject}: {name}")


class DockerArchiveDestination:
    """transport.Destination: one image of uncompressed layers. The archive is made anew, an earlier one stays
    until `commit` replaces it. `reference`: the name that `docker load` will give it, "" for none."""

    def __init__(self, path: str, reference: str = "", cancellation: Cancellation | None = None) -> None:
        self._subject = f"docker-archive:{path}"
        self._name = _name(reference, self._subject)
        self._turn = Turn(cancellation)
        self._lock = threading.Lock()
        self._manifests: dict[Digest, RawManifest] = {}
        self._committed = False
        self._tar = TarWriter(path, self._subject, self._turn)

    @property
    def abilities(self) -> Abilities:
        return Abilities(
            media_types=(manifest.DOCKER_MANIFEST, manifest.OCI_MANIFEST),
            compressions=("",),
            indexes=False,
            signatures=False,
            attachments=False,
        )

    def has_blob(self, blob: Descriptor) -> bool:
        self._turn.check()
        return self._tar.has(blob_name(blob.digest))

    def put_blob(self, blob: Descriptor, reader: Reader, meter: Meter) -> None:
        self._turn.check()
        self._tar.put_blob(blob_name(blob.digest), blob, reader)

    def put_manifest(self, manifest: RawManifest, *, tag: str = "") -> None:
        """Attachments (`tag`) have no place here and are left out. Raises Unsupported for packed layers."""
        self._turn.check()
        checked(manifest.data, manifest.digest, self._subject)
        if tag:
            return
        self._parsed(manifest)
        with self._lock:
            self._manifests[manifest.digest] = manifest
        self._tar.put_bytes(blob_name(manifest.digest), manifest.data)

    def put_signatures(self, digest: Digest, signatures: tuple[bytes, ...]) -> None:
        if signatures:
            raise Unsupported(
                self._subject,
                "such an archive holds no signatures",
                hint="copy to dir: or a registry, or without signatures",
            )

    def commit(self, top: Digest) -> None:
        """Raises Conflict where a blob is missing that its manifest names."""
        self._turn.check()
        with self._lock:
            if self._committed:
                return
            if top not in self._manifests:
                raise InvalidInput(str(top), "is no manifest that was put", hint="put it before the commit")
            raw = self._manifests[top]
            found = self._parsed(raw)
            for blob in (found.config, *found.layers):
                if not self._tar.has(blob_name(blob.digest)):
                    raise oci.missing(self._subject, blob.digest)
            self._put_lists(raw, found)
            self._tar.publish()
            self._committed = True

    def close(self) -> None:
        self._turn.close()
        self._tar.close()

    def _parsed(self, raw: RawManifest) -> Manifest:
        found = manifest.parse(raw.data, raw.media_type, self._subject)
        if not isinstance(found, Manifest):
            raise Unsupported(
                self._subject, "holds no index", hint="choose one platform, or copy to oci-archive:"
            )
        manifest.check_image(found, self._subject)
        for layer in found.layers:
            if manifest.compression(layer, self._subject):
                raise Unsupported(
                    self._subject, "holds uncompressed layers only", hint="have the copy unpack them"
                )
        return found

    def _put_lists(self, raw: RawManifest, found: Manifest) -> None:
        names = [blob_name(layer.digest) for layer in found.layers]
        listed: dict[str, Any] = {
            "Config": blob_name(found.config.digest),
            "RepoTags": [self._name.canonical] if self._name else [],
            "Layers": names,
        }
        self._tar.put_bytes(_MANIFEST, json.dumps([listed]).encode())
        if self._name and found.layers:
            tags = {self._name.name: {self._name.tag: found.layers[-1].digest.encoded}}
            self._tar.put_bytes(_REPOSITORIES, json.dumps(tags).encode())
        entry: dict[str, Any] = {"mediaType": raw.media_type, "digest": raw.digest, "size": len(raw.data)}
        if self._name:
            # podman takes the second for the name too, so it is the whole one.
            entry["annotations"] = {
                _CONTAINERD_NAME: self._name.canonical,
                entries.NAME: self._name.canonical,
            }
        index = {"schemaVersion": 2, "mediaType": manifest.OCI_INDEX, "manifests": [entry]}
        self._tar.put_bytes(entries.LAYOUT, entries.LAYOUT_TEXT)
        self._tar.put_bytes(entries.INDEX, json.dumps(index).encode())


def _read_images(data: bytes, subject: str) -> list[_Image]:
    """manifest.json: a list of objects, which the strict reader of objects takes wrapped."""
    listed = documents.read_object(b'{"images":' + data + b"}", subject).get("images")
    if not isinstance(listed, list) or not all(isinstance(item, dict) for item in listed):
        raise documents.malformed(subject, "is not a list of images")
    return [
        _Image(
            _clean(documents.text(item, "Config", subject), subject),
            documents.texts(item, "RepoTags", subject),
            tuple(_clean(layer, subject) for layer in documents.texts(item, "Layers", subject)),
        )
        for item in listed
    ]


def _clean(name: str, subject: str) -> str:
    parts = name.split("/")
    if not name or name.startswith("/") or ".." in parts:
        raise documents.malformed(subject, f"names the file {name[:200]!r}")
    return "/".join(part for part in parts if part not in ("", "."))


def _choose(images: list[_Image], reference: str, subject: str) -> _Image:
    names = [tag for image in images for tag in image.tags]
    more = ", ..." if len(names) > _NAMES_TOLD else ""
    hint = f"it holds {len(images)} images: {', '.join(names[:_NAMES_TOLD]) or '(no names)'}{more}, @0 ..."
    if not images:
        raise NotFound(subject, "holds no image", hint="save one")
    if not reference:
        if len(images) > 1:
            raise InvalidInput(subject, f"holds {len(images)} images", hint=f"name one; {hint}")
        return images[0]
    if reference.startswith("@"):
        text = reference[1:]
        if not (text.isascii() and text.isdigit() and len(text) < 10):
            raise InvalidInput(f"{subject}:{reference}", "is no number of an image", hint=hint)
        if int(text) < len(images):
            return images[int(text)]
        raise NotFound(f"{subject}:{reference}", "no such image", hint=hint)
    wanted = Reference.parse(reference).canonical
    found = [image for image in images if any(_canonical(tag) == wanted for tag in image.tags)]
    if not found:
        raise NotFound(f"{subject}:{reference}", "no image of this name", hint=hint)
    if len({(image.config, image.layers) for image in found}) > 1:
        raise Corrupt(f"{subject}:{reference}", "is the name of several images", hint="choose one by @N")
    return found[0]


def _canonical(tag: str) -> str:
    try:
        return Reference.parse(tag).canonical
    except InvalidInput:
        return ""


def _name(reference: str, subject: str) -> Reference | None:
    if not reference:
        return None
    parsed = Reference.parse(reference)
    if parsed.digest:
        raise InvalidInput(f"{subject}:{reference}", "has a digest", hint="name it by a tag")
    return parsed
