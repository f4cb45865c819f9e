"""Signing: a payload, its signature, and where they are put.

Sigstore signatures go beside the image in its repository, as cosign has them: by the tag sha256-HEX.sig (what
every reader knows), or as manifests that refer to the image (OCI 1.1). Simple signatures go into the folder
or to the lookaside.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol

from orlop.image.digest import Digest
from orlop.image.manifest import OCI_MANIFEST, Descriptor, Index, Manifest, parse
from orlop.image.signature import payload
from orlop.image.signature.model import (
    CERTIFICATE,
    CHAIN,
    COSIGN_ARTIFACT,
    PAYLOAD,
    SIGNATURE,
    Attached,
)
from orlop.image.transport.destination import Destination
from orlop.image.transport.source import RawManifest, Source
from orlop.kit import limits
from orlop.kit.errors import Conflict, LimitExceeded
from orlop.kit.progress import QuietMeter
from orlop.kit.value import dataclass, field

_CONFIG = "application/vnd.oci.image.config.v1+json"
_NO_TIME = "0001-01-01T00:00:00Z"


@dataclass(frozen=True)
class Signed:
    """What was signed: the manifest, the name that stands in the payload, and where the signature is."""

    digest: Digest
    reference: str
    place: str


@dataclass(frozen=True)
class Chain:
    """Certificates that are shown with a signature, PEM."""

    certificate: str = ""
    above: str = ""
    annotations: Mapping[str, str] = field(default_factory=dict)


_NO_CHAIN = Chain()


def manifests(source: Source, *, recursive: bool) -> Iterator[RawManifest]:
    """What is to be signed: the top, and with `recursive` everything below an index. Raises as a source."""

    def below(raw: RawManifest, depth: int) -> Iterator[RawManifest]:
        yield raw
        parsed = parse(raw.data, raw.media_type, str(raw.digest))
        if not recursive or not isinstance(parsed, Index):
            return
        if depth == limits.INDEX_DEPTH:
            raise LimitExceeded(
                str(raw.digest), f"more than {depth} indexes within each other", hint="sign one inside"
            )
        for entry in parsed.manifests:
            yield from below(source.manifest(entry.digest), depth + 1)

    yield from below(source.manifest(), 0)


def attached(
    digest: Digest,
    reference: str,
    signer: Callable[[bytes], bytes],
    annotations: Mapping[str, str],
    chain: Chain = _NO_CHAIN,
) -> Attached:
    """A sigstore signature of `digest` under the name `reference`."""
    data = payload.make(digest, reference, payload.COSIGN, annotations)
    texts = {SIGNATURE: base64.b64encode(signer(data)).decode()}
    if chain.certificate:
        texts[CERTIFICATE] = chain.certificate
    if chain.above:
        texts[CHAIN] = chain.above
    return Attached(data, texts)


def tag_of(digest: Digest) -> str:
    return f"{digest.algorithm}-{digest.encoded}.sig"


class Tagged(Protocol):
    """The part of a Source that finds what is there already."""

    def tagged(self, tag: str) -> RawManifest | None: ...


def put_by_tag(source: Tagged, destination: Destination, digest: Digest, signature: Attached) -> str:
    """Put it behind those that the tag has; returns the tag. Raises Conflict where the tag is something else.

    Two that sign at the same moment may lose one of the signatures, as with cosign: registries have no lock.
    """
    tag = tag_of(digest)
    there = source.tagged(tag)
    layers: list[dict[str, object]] = []
    if there is not None:
        parsed = parse(there.data, there.media_type, tag)
        if not isinstance(parsed, Manifest) or any(one.media_type != PAYLOAD for one in parsed.layers):
            raise Conflict(
                tag, "is something else than signatures", hint="remove the tag, or use --attach referrers"
            )
        layers = json.loads(there.data)["layers"]
        if len(layers) >= limits.SIGNATURES:
            raise LimitExceeded(tag, f"has {len(layers)} signatures", hint="remove those that are of no use")
    layer = _layer(signature)
    if layer not in layers:
        layers.append(layer)
    _put(destination, signature.payload, str(layer["digest"]))
    manifest = _manifest(destination, layers)
    destination.put_manifest(manifest, tag=tag)
    return tag


def put_referrer(destination: Destination, subject: RawManifest, signature: Attached) -> Digest:
    """Put it as a manifest that refers to the image; returns its digest."""
    layer = _layer(signature)
    _put(destination, signature.payload, str(layer["digest"]))
    about = {"mediaType": subject.media_type, "digest": str(subject.digest), "size": len(subject.data)}
    manifest = _manifest(destination, [layer], about)
    destination.put_manifest(manifest)
    return manifest.digest


def _layer(signature: Attached) -> dict[str, object]:
    data = signature.payload
    return {
        "mediaType": signature.media_type,
        "size": len(data),
        "digest": str(Digest.of(data)),
        "annotations": dict(signature.annotations),
    }


def _manifest(
    destination: Destination,
    layers: Sequence[Mapping[str, object]],
    subject: Mapping[str, object] | None = None,
) -> RawManifest:
    """As cosign writes it: an image whose layers are payloads; with a subject, an artifact."""
    if subject is None:
        config_type = _CONFIG
        diffs = [layer["digest"] for layer in layers]
        config = json.dumps(
            {
                "architecture": "",
                "created": _NO_TIME,
                "history": [{"created": _NO_TIME}] * len(layers),
                "os": "",
                "rootfs": {"type": "layers", "diff_ids": diffs},
                "config": {},
            },
            separators=(",", ":"),
        ).encode()
    else:
        # The type of the config is the artifact's as well: registries without artifactType tell that one.
        config_type, config = COSIGN_ARTIFACT, b"{}"
    digest = Digest.of(config)
    _put(destination, config, digest)
    document: dict[str, object] = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": {"mediaType": config_type, "size": len(config), "digest": str(digest)},
        "layers": list(layers),
    }
    if subject is not None:
        document["artifactType"] = COSIGN_ARTIFACT
        document["subject"] = subject
    data = json.dumps(document, separators=(",", ":")).encode()
    return RawManifest(data, OCI_MANIFEST, Digest.of(data))


def _put(destination: Destination, data: bytes, digest: str) -> None:
    blob = Descriptor("application/octet-stream", Digest(digest), len(data))
    if not destination.has_blob(blob):
        destination.put_blob(blob, io.BytesIO(data), QuietMeter())
