"""Manifests and indexes: OCI image-spec 1.1 (manifest.md, image-index.md), Docker schema 2 and its list.

Whoever checks a manifest and whoever uses it must read the same thing, so what could be read in two ways is
refused: keys of two formats in one document, a media type that contradicts the content or the server, a key
twice or in another case (Go's parsers take `Layers` for `layers`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from orlop.image import documents
from orlop.image.digest import Digest
from orlop.kit import limits
from orlop.kit.errors import InvalidInput, LimitExceeded, Unsupported
from orlop.kit.value import dataclass, field

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
MANIFESTS = (OCI_MANIFEST, DOCKER_MANIFEST)
INDEXES = (OCI_INDEX, DOCKER_LIST)
ACCEPTED = (*MANIFESTS, *INDEXES)

_SCHEMA_1 = (
    "application/vnd.docker.distribution.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v1+prettyjws",
)
_CONFIGS = (
    "application/vnd.oci.image.config.v1+json",
    "application/vnd.docker.container.image.v1+json",
)
_COMPRESSIONS = {
    "application/vnd.oci.image.layer.v1.tar": "",
    "application/vnd.oci.image.layer.v1.tar+gzip": "gzip",
    "application/vnd.oci.image.layer.v1.tar+zstd": "zstd",
    "application/vnd.docker.image.rootfs.diff.tar": "",
    "application/vnd.docker.image.rootfs.diff.tar.gzip": "gzip",
    "application/vnd.docker.image.rootfs.diff.tar.zstd": "zstd",
}
_VAGUE = ("", "application/json", "application/octet-stream", "text/plain", "binary/octet-stream")
_MANIFEST_KEYS = ("config", "layers")
_INDEX_KEYS = ("manifests",)
_SCHEMA_1_KEYS = ("fsLayers", "history", "signatures")
_KNOWN = {
    key.lower(): key
    for key in (
        *("schemaVersion", "mediaType", "artifactType", "subject", "annotations", "digest", "size", "urls"),
        *("data", "platform", *_MANIFEST_KEYS, *_INDEX_KEYS, *_SCHEMA_1_KEYS),
    )
}


@dataclass(frozen=True)
class Descriptor:
    """What is to be fetched: its type, digest and size in bytes. `platform` is of an index's entry, raw."""

    media_type: str
    digest: Digest
    size: int
    annotations: Mapping[str, str] = field(default_factory=dict)
    platform: Mapping[str, Any] | None = None
    artifact_type: str = ""


@dataclass(frozen=True)
class Manifest:
    """One image (or artifact): its config and its layers, bottom first."""

    media_type: str
    config: Descriptor
    layers: tuple[Descriptor, ...]
    artifact_type: str = ""
    subject: Descriptor | None = None
    annotations: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Index:
    """Several manifests, one of which fits a platform."""

    media_type: str
    manifests: tuple[Descriptor, ...]
    artifact_type: str = ""
    subject: Descriptor | None = None
    annotations: Mapping[str, str] = field(default_factory=dict)


def parse(raw: bytes, media_type: str = "", subject: str = "manifest") -> Manifest | Index:
    """Read a manifest or an index. `media_type` is what the server or the parent descriptor called it.

    Raises Corrupt (malformed or ambiguous), Unsupported (schema 1, unknown kinds), LimitExceeded.
    """
    if len(raw) > limits.MANIFEST_SIZE:
        raise LimitExceeded(
            subject,
            f"is longer than {limits.MANIFEST_SIZE} bytes",
            hint="have the image built with fewer layers",
        )
    document = documents.read_object(raw, subject)
    kind = _kind(document, media_type.partition(";")[0].strip().lower(), subject)
    if kind in INDEXES:
        return Index(kind, _descriptors(document, "manifests", subject), *_about(document, subject))
    config = document.get("config")
    if not isinstance(config, dict):
        raise documents.malformed(subject, "has no `config`")
    return Manifest(
        kind,
        _descriptor(config, f"{subject}: config"),
        _descriptors(document, "layers", subject),
        *_about(document, subject),
    )


def is_image(manifest: Manifest) -> bool:
    """Whether it is of a container image, not of an artifact."""
    return manifest.config.media_type in _CONFIGS


def check_image(manifest: Manifest, subject: str) -> None:
    """Whether `manifest` is of an image that can be unpacked here.

    Raises Unsupported for artifacts, foreign, encrypted and unknown layers, LimitExceeded for too many.
    """
    if not is_image(manifest):
        kind = manifest.artifact_type or manifest.config.media_type
        raise Unsupported(
            subject, f"is an artifact of type {kind[:100]}, not an image", hint="name a container image"
        )
    if len(manifest.layers) > limits.LAYERS_PER_IMAGE:
        raise LimitExceeded(
            subject,
            f"has {len(manifest.layers)} layers, the kernel mounts at most {limits.LAYERS_PER_IMAGE}",
            hint="have the image squashed",
        )
    for layer in manifest.layers:
        compression(layer, subject)


def compression(layer: Descriptor, subject: str) -> str:
    """How a layer is packed: "gzip", "zstd" or "". Raises Unsupported where it cannot be unpacked here."""
    known = _COMPRESSIONS.get(layer.media_type)
    if known is not None:
        return known
    kind = layer.media_type[:100]
    if "nondistributable" in kind or ".foreign." in kind:
        raise Unsupported(
            subject,
            f"layer {layer.digest} is foreign ({kind}): the registry does not hold it",
            hint="choose an image whose layers may all be distributed (foreign layers are Windows')",
        )
    cause = "is encrypted" if kind.endswith("+encrypted") else "is of an unknown type"
    raise Unsupported(
        subject, f"layer {layer.digest} {cause} ({kind})", hint="have it pushed as tar, tar+gzip or tar+zstd"
    )


def _kind(document: dict[str, Any], served: str, subject: str) -> str:
    """The media type, once the server, the document's own word and its keys agree."""
    version = document.get("schemaVersion")
    if type(version) is not int:
        raise documents.malformed(subject, "`schemaVersion` is not a number")
    if served in _SCHEMA_1 or version == 1:
        raise Unsupported(
            subject,
            "is a manifest of Docker's schema 1, obsolete since 2016",
            hint="pull it with an old Docker and push it again with any current tool",
        )
    if version != 2:
        raise documents.malformed(subject, "`schemaVersion` is not 2")
    _check_spelling(document, subject)
    own = documents.text(document, "mediaType", subject)
    if own and served not in _VAGUE and served != own.lower():
        raise documents.malformed(subject, f"says it is {own[:100]!r} but is served as {served[:100]!r}")
    kind = own or ("" if served in _VAGUE else served)
    if not kind:
        kind = OCI_INDEX if "manifests" in document else OCI_MANIFEST
    if kind not in ACCEPTED:
        raise Unsupported(subject, f"is of type {kind[:100]!r}", hint="name a container image")
    foreign = (_MANIFEST_KEYS if kind in INDEXES else _INDEX_KEYS) + _SCHEMA_1_KEYS
    mixed = [key for key in foreign if key in document]
    if mixed:
        raise documents.malformed(subject, f"is ambiguous: {kind} with `{'`, `'.join(mixed)}`")
    return kind


def _about(document: dict[str, Any], subject: str) -> tuple[str, Descriptor | None, Mapping[str, str]]:
    """What manifests and indexes say alike: artifact type, subject, annotations."""
    of = document.get("subject")
    if of is not None and not isinstance(of, dict):
        raise documents.malformed(subject, "`subject` is not a descriptor")
    return (
        documents.text(document, "artifactType", subject),
        None if of is None else _descriptor(of, f"{subject}: subject"),
        documents.text_mapping(document, "annotations", subject),
    )


def _check_spelling(document: Iterable[str], subject: str) -> None:
    for key in document:
        if _KNOWN.get(key.lower(), key) != key:
            raise documents.malformed(subject, f"is ambiguous: key {key!r}, {_KNOWN[key.lower()]!r} is meant")


def _descriptors(document: dict[str, Any], key: str, subject: str) -> tuple[Descriptor, ...]:
    entries = document.get(key)
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise documents.malformed(subject, f"`{key}` is not a list of descriptors")
    return tuple(_descriptor(entry, f"{subject}: {key}[{place}]") for place, entry in enumerate(entries))


def _descriptor(entry: dict[str, Any], subject: str) -> Descriptor:
    """OCI image-spec 1.1, descriptor.md."""
    _check_spelling(entry, subject)
    size = entry.get("size")
    if type(size) is not int or not 0 <= size < 2**63:
        raise documents.malformed(subject, "`size` is not a number of bytes")
    try:
        digest = Digest(documents.text(entry, "digest", subject))
    except InvalidInput as error:
        raise documents.malformed(subject, str(error)) from error
    platform = entry.get("platform")
    if platform is not None and not isinstance(platform, dict):
        raise documents.malformed(subject, "`platform` is not an object")
    return Descriptor(
        documents.text(entry, "mediaType", subject),
        digest,
        size,
        documents.text_mapping(entry, "annotations", subject),
        platform,
        documents.text(entry, "artifactType", subject),
    )
