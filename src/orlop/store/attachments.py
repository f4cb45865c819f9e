"""cosign's attachment of a manifest, made up again from the signatures that were kept with its image."""

from __future__ import annotations

import json
from collections.abc import Iterable

from orlop.image.digest import Digest
from orlop.image.manifest import OCI_MANIFEST
from orlop.image.signature.model import ATTACHED, Attached, BadSignature, of_document
from orlop.image.sink import Document
from orlop.image.transport.source import RawManifest

_CONFIG = "application/vnd.oci.image.config.v1+json"


def tag_of(digest: Digest) -> str:
    """The tag under which cosign stores what is attached to a manifest."""
    return f"{digest.algorithm}-{digest.encoded}.sig"


def attachment(documents: Iterable[Document], digest: Digest) -> tuple[RawManifest, dict[str, bytes]] | None:
    """The manifest and its blobs, by digest; None where no kept signature is of this digest.

    The payloads and their annotations are as they came, which is what a signature is about; the manifest
    around them may have had another digest.
    """
    found = [one for one in map(_attached, documents) if one is not None and _signs(one, digest)]
    if not found:
        return None
    layers = [
        {
            "mediaType": one.media_type,
            "digest": Digest.of(one.payload),
            "size": len(one.payload),
            "annotations": dict(one.annotations),
        }
        for one in found
    ]
    config = _dumped(
        {
            "architecture": "",
            "config": {},
            "os": "",
            "rootfs": {"type": "layers", "diff_ids": [layer["digest"] for layer in layers]},
        }
    )
    data = _dumped(
        {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": {"mediaType": _CONFIG, "digest": Digest.of(config), "size": len(config)},
            "layers": layers,
        }
    )
    blobs = {str(Digest.of(blob)): blob for blob in (config, *(one.payload for one in found))}
    return RawManifest(data, OCI_MANIFEST, Digest.of(data)), blobs


def _attached(document: Document) -> Attached | None:
    if document.kind != ATTACHED:
        return None
    try:
        signature = of_document(document)
    except BadSignature:
        return None
    return signature if isinstance(signature, Attached) else None


def _signs(signature: Attached, digest: Digest) -> bool:
    try:
        claimed = json.loads(signature.payload)["critical"]["image"]["docker-manifest-digest"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return False
    return bool(claimed == digest)


def _dumped(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
