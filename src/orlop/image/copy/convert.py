"""Which parts of a manifest must change for a destination or by request, and how they are written then.

Configs are never rewritten: Docker's is an OCI config with more keys, and an image's ID stays what it was.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from orlop.image.copy.options import CopyOptions
from orlop.image.digest import Digest
from orlop.image.manifest import (
    DOCKER_LIST,
    DOCKER_MANIFEST,
    INDEXES,
    MANIFESTS,
    OCI_INDEX,
    OCI_MANIFEST,
    Descriptor,
    Index,
    Manifest,
    is_image,
)
from orlop.image.transport.destination import Abilities
from orlop.image.transport.source import RawManifest
from orlop.kit.errors import InvalidInput, Unsupported

_OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
_DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
_OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
_DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"
#: (format, compression) -> media type of a layer.
_LAYERS = {
    (OCI_MANIFEST, ""): _OCI_LAYER,
    (OCI_MANIFEST, "gzip"): f"{_OCI_LAYER}+gzip",
    (OCI_MANIFEST, "zstd"): f"{_OCI_LAYER}+zstd",
    (DOCKER_MANIFEST, ""): _DOCKER_LAYER,
    (DOCKER_MANIFEST, "gzip"): f"{_DOCKER_LAYER}.gzip",
    (DOCKER_MANIFEST, "zstd"): f"{_DOCKER_LAYER}.zstd",
}
_COMPRESSION = {media_type: compression for (_, compression), media_type in _LAYERS.items()}
_FOREIGN = (
    (
        "application/vnd.oci.image.layer.nondistributable.v1.tar",
        "application/vnd.docker.image.rootfs.foreign.diff.tar",
    ),
    (
        "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
    ),
)
_INDEX_OF = {OCI_MANIFEST: OCI_INDEX, DOCKER_MANIFEST: DOCKER_LIST}
_BY_NAME = {"oci": OCI_MANIFEST, "docker": DOCKER_MANIFEST}
#: Annotations of a layer that say where its frames begin: of no use once it is packed anew.
_POSITIONS = (
    "io.github.containers.zstd-chunked.",
    "containerd.io/snapshot/stargz/",
    "io.containers.estargz.",
)


@dataclass(frozen=True)
class Conversion:
    """What one manifest becomes: its media type, and the compression of each layer (None: as it is)."""

    media_type: str
    layers: tuple[str | None, ...]
    changes: bool


def is_foreign(layer: Descriptor) -> bool:
    """Whether registries do not hold this layer: its descriptor is copied, its bytes are not."""
    return "nondistributable" in layer.media_type or ".foreign." in layer.media_type


def of_manifest(manifest: Manifest, options: CopyOptions, abilities: Abilities, subject: str) -> Conversion:
    """Raises Unsupported for what cannot become what the destination or `options` want, InvalidInput."""
    target = _format(manifest.media_type, options, abilities, subject)
    if not is_image(manifest):
        if target != manifest.media_type:
            kind = manifest.artifact_type or manifest.config.media_type
            raise Unsupported(
                subject,
                f"is an artifact of type {kind[:100]}: it has no form as {target}",
                hint="copy it to where OCI manifests are taken, without --format",
            )
        return Conversion(target, (None,) * len(manifest.layers), changes=False)
    wanted = [_wanted(layer, options, abilities, subject) for layer in manifest.layers]
    if target == DOCKER_MANIFEST and "zstd" in wanted:
        if options.compression == "zstd" and not options.format and _takes(OCI_MANIFEST, abilities):
            target = OCI_MANIFEST
        elif options.format or manifest.media_type != DOCKER_MANIFEST:
            wanted = ["gzip" if each == "zstd" else each for each in wanted]
    layers = tuple(
        None if each is None or each == _COMPRESSION[layer.media_type] else each
        for each, layer in zip(wanted, manifest.layers, strict=True)
    )
    if target != manifest.media_type:
        for layer in manifest.layers:
            _layer_type(layer, None, target, subject)
    changes = target != manifest.media_type or any(each is not None for each in layers)
    return Conversion(target, layers, changes)


def index_type(index: Index, children: Sequence[str], options: CopyOptions, abilities: Abilities) -> str:
    """The media type of an index whose members have become `children` (media types)."""
    if options.format:
        return _INDEX_OF[_BY_NAME[options.format]]
    allowed = [kind for kind in abilities.media_types if kind in INDEXES] or list(INDEXES)
    if index.media_type == DOCKER_LIST and OCI_MANIFEST in children and OCI_INDEX in allowed:
        return OCI_INDEX  # a list of Docker's has members of Docker's
    return index.media_type if index.media_type in allowed else allowed[0]


def rewritten_manifest(
    raw: RawManifest, manifest: Manifest, conversion: Conversion, layers: Sequence[Descriptor], subject: str
) -> RawManifest:
    """`raw` with the media types of `conversion` and the digests and sizes of `layers`."""
    document: dict[str, Any] = json.loads(raw.data)
    target = conversion.media_type
    document["mediaType"] = target
    if target == DOCKER_MANIFEST:
        for key in ("annotations", "artifactType", "subject"):
            document.pop(key, None)  # Docker's format has no place for them
    if target != manifest.media_type:
        document["config"]["mediaType"] = _OCI_CONFIG if target == OCI_MANIFEST else _DOCKER_CONFIG
    for entry, old, new, compression in zip(
        document["layers"], manifest.layers, layers, conversion.layers, strict=True
    ):
        entry["mediaType"] = _layer_type(old, compression, target, subject)
        entry["digest"], entry["size"] = str(new.digest), new.size
        if compression is not None or target == DOCKER_MANIFEST:
            _drop_positions(entry, all_of_them=target == DOCKER_MANIFEST)
    return _packed(document, target, raw.digest.algorithm)


def rewritten_index(
    raw: RawManifest, media_type: str, members: Sequence[tuple[dict[str, Any], RawManifest]]
) -> RawManifest:
    """`raw` with these members: the entries as they were, with what they lead to now."""
    document: dict[str, Any] = json.loads(raw.data)
    document["mediaType"] = media_type
    if media_type == DOCKER_LIST:
        for key in ("annotations", "artifactType", "subject"):
            document.pop(key, None)
    document["manifests"] = [
        {**entry, "mediaType": child.media_type, "digest": str(child.digest), "size": len(child.data)}
        for entry, child in members
    ]
    return _packed(document, media_type, raw.digest.algorithm)


def _format(own: str, options: CopyOptions, abilities: Abilities, subject: str) -> str:
    if options.format:
        target = _BY_NAME[options.format]
        if not _takes(target, abilities):
            raise InvalidInput(
                f"--format {options.format}",
                f"is nothing that the destination of {subject} holds",
                hint="leave it out",
            )
        return target
    if _takes(own, abilities):
        return own
    for target in abilities.media_types:
        if target in MANIFESTS:
            return target
    raise Unsupported(subject, f"the destination holds no {own}", hint="choose another destination")


def _takes(media_type: str, abilities: Abilities) -> bool:
    return not abilities.media_types or media_type in abilities.media_types


def _wanted(layer: Descriptor, options: CopyOptions, abilities: Abilities, subject: str) -> str | None:
    """The compression that a layer shall have; None for what is no plain layer (left as it is)."""
    now = _COMPRESSION.get(layer.media_type)
    if now is None:
        return None
    wanted = now if options.compression is None else options.compression
    if wanted in abilities.compressions:
        return wanted
    if options.compression is not None:
        raise InvalidInput(
            f"--compress {options.compression or 'none'}",
            f"is nothing that the destination of {subject} holds",
            hint="leave it out",
        )
    return abilities.compressions[0]


def _layer_type(layer: Descriptor, compression: str | None, target: str, subject: str) -> str:
    known = _COMPRESSION.get(layer.media_type)
    if known is not None:
        return _LAYERS[target, known if compression is None else compression]
    own = layer.media_type
    for oci, docker in _FOREIGN:
        if own in (oci, docker):
            return oci if target == OCI_MANIFEST else docker
    if target == OCI_MANIFEST and not own.startswith("application/vnd.docker."):
        return own
    raise Unsupported(
        subject,
        f"a layer of type {own[:100]} has no form in {target}",
        hint="leave the format as it is, or choose a --platform without it",
    )


def _drop_positions(entry: dict[str, Any], *, all_of_them: bool) -> None:
    kept = {
        key: value
        for key, value in (entry.pop("annotations", None) or {}).items()
        if not all_of_them and not key.startswith(_POSITIONS)
    }
    if kept:
        entry["annotations"] = kept


def _packed(document: dict[str, Any], media_type: str, algorithm: str) -> RawManifest:
    data = json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()
    return RawManifest(data, media_type, Digest.of(data, algorithm))
