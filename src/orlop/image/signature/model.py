"""Signatures as values, and the form in which they are kept beside an image and in folders (dir:).

A sigstore signature that is attached by cosign's tag has no file format of its own. containers/image made one
for its folders, NUL "sigstore-json" newline and a JSON object, which is read and written here.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any

from orlop.image import documents
from orlop.image.digest import Digest
from orlop.image.sink import Document
from orlop.kit import limits
from orlop.kit.errors import Corrupt, OrlopError
from orlop.kit.value import dataclass, field

# Kinds of Document
SIMPLE = "simple"
ATTACHED = "sigstore"
BUNDLE = "bundle"
MANIFEST = "manifest"
INDEX = "index"
REFERENCE = "reference"  # the name that an image was admitted under
#: What stays beside an image when it is pulled again.
KEPT = (SIMPLE, ATTACHED, BUNDLE, MANIFEST, REFERENCE)

# Media types
PAYLOAD = "application/vnd.dev.cosign.simplesigning.v1+json"
BUNDLE_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
COSIGN_ARTIFACT = "application/vnd.dev.cosign.artifact.sig.v1+json"
OPENPGP = "application/pgp-signature"

# Annotations of cosign
SIGNATURE = "dev.cosignproject.cosign/signature"
CERTIFICATE = "dev.sigstore.cosign/certificate"
CHAIN = "dev.sigstore.cosign/chain"
LOG = "dev.sigstore.cosign/bundle"
TIMESTAMP = "dev.sigstore.cosign/rfc3161timestamp"

_MAGIC = b"\0sigstore-json\n"
_NOTHING: Mapping[str, str] = {}


class BadSignature(Corrupt):
    """A signature is worth nothing: `cause` says why."""

    def __init__(self, cause: str) -> None:
        super().__init__("signature", cause, hint="have the image signed anew")

    def __str__(self) -> str:
        return self.cause


@dataclass(frozen=True)
class Simple:
    """An OpenPGP message around a payload."""

    data: bytes


@dataclass(frozen=True)
class Attached:
    """A payload and what cosign says of it in annotations."""

    payload: bytes
    annotations: Mapping[str, str]
    media_type: str = PAYLOAD


@dataclass(frozen=True)
class Bundle:
    """A sigstore bundle, as JSON."""

    data: bytes


Signature = Simple | Attached | Bundle


@dataclass(frozen=True)
class Verified:
    """What a signature proves. `reference` is the name that it claims, "" for none; times are in seconds.

    `key` is the OpenPGP fingerprint or the SHA-256 of the public key; with a certificate `subject` and
    `issuer` say whose it is. `log_index` is -1 where no log vouched.
    """

    kind: str
    digest: Digest
    reference: str
    key: str
    subject: str = ""
    issuer: str = ""
    log_index: int = -1
    time: int = 0
    annotations: Mapping[str, Any] = field(default_factory=dict)


def packed(signature: Signature) -> bytes:
    """As a file of dir: has it."""
    if isinstance(signature, Attached):
        document = {
            "mimeType": signature.media_type,
            "payload": base64.b64encode(signature.payload).decode(),
            "annotations": dict(signature.annotations),
        }
        return _MAGIC + json.dumps(document, separators=(",", ":")).encode()
    return signature.data


def unpacked(data: bytes) -> Signature:
    """Raises BadSignature."""
    if not data.startswith(b"\0"):
        return Bundle(data) if data.lstrip()[:1] == b"{" else Simple(data)
    if not data.startswith(_MAGIC):
        raise BadSignature("it is of an unknown format")
    try:
        document = documents.read_object(data[len(_MAGIC) :], "signature")
        media_type = documents.text(document, "mimeType", "signature")
        payload = binascii.a2b_base64(documents.text(document, "payload", "signature").encode())
        annotations = documents.text_mapping(document, "annotations", "signature")
    except (OrlopError, ValueError) as error:
        raise BadSignature(f"it is malformed: {error}") from None
    return Attached(payload, annotations, media_type)


def document(signature: Signature) -> Document:
    """As the store keeps it."""
    data = packed(signature)
    kind, media_type = {
        Simple: (SIMPLE, OPENPGP),
        Attached: (ATTACHED, PAYLOAD),
        Bundle: (BUNDLE, BUNDLE_TYPE),
    }[type(signature)]
    return Document(kind, media_type, Digest.of(data), data)


def of_document(found: Document) -> Signature | None:
    """The signature that a kept document is; None for other documents. Raises BadSignature."""
    if found.kind in (SIMPLE, ATTACHED, BUNDLE):
        if len(found.data) > limits.SIGNATURE_SIZE * 2:
            raise BadSignature("it is too long")
        return unpacked(found.data)
    return None
