"""Sigstore bundles (application/vnd.dev.sigstore.bundle.v0.3+json): a signature and all that it is judged by.

Two contents: a message signature, which is of the manifest's bytes, and a DSSE envelope with an in-toto
Statement 1 whose subjects are digests.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orlop.image import documents
from orlop.image.digest import Digest
from orlop.image.signature.log import Entry, Proof, base64_of
from orlop.image.signature.model import BadSignature
from orlop.kit import limits
from orlop.kit.errors import OrlopError
from orlop.kit.value import dataclass, field

_TYPES = (
    "application/vnd.dev.sigstore.bundle.v0.3+json",
    "application/vnd.dev.sigstore.bundle+json;version=0.3",
    "application/vnd.dev.sigstore.bundle+json;version=0.2",
)
_IN_TOTO = "application/vnd.in-toto+json"
_STATEMENTS = ("https://in-toto.io/Statement/v1", "https://in-toto.io/Statement/v0.1")
SIGN_PREDICATE = "https://sigstore.dev/cosign/sign/v1"
_WHERE = "bundle"


@dataclass(frozen=True)
class Statement:
    """What an in-toto statement says: of which digests, under which names."""

    subjects: tuple[tuple[str, str], ...]  # (name, sha256 digest)
    predicate_type: str
    annotations: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Read:
    """A bundle. `signed` is b"" where the manifest itself is; `payload` is what a log entry's hash is of."""

    signature: bytes
    signed: bytes
    payload: bytes
    statement: Statement | None
    message_digest: bytes
    certificates: tuple[bytes, ...]
    entries: tuple[Entry, ...]
    timestamps: int


def read(data: bytes) -> Read:
    """Raises BadSignature."""
    if len(data) > limits.SIGNATURE_SIZE:
        raise BadSignature(f"it is longer than {limits.SIGNATURE_SIZE} bytes")
    try:
        document = documents.read_object(data, _WHERE)
        kind = documents.text(document, "mediaType", _WHERE)
        if kind.replace(" ", "") not in _TYPES:
            raise BadSignature(f"it is a bundle of the type {kind[:80]!r}: not supported")
        material = documents.mapping(document, "verificationMaterial", _WHERE)
        if ("messageSignature" in document) == ("dsseEnvelope" in document):
            raise BadSignature("it is not a bundle with one signature")
        common = (_certificates(material), _entries(material), _timestamps(material))
        if "dsseEnvelope" in document:
            return _envelope(documents.mapping(document, "dsseEnvelope", _WHERE), *common)
        return _message(documents.mapping(document, "messageSignature", _WHERE), *common)
    except BadSignature:
        raise
    except OrlopError as error:
        raise BadSignature(f"it is a malformed bundle: {error}"[:300]) from None


def _message(
    document: dict[str, Any], certificates: tuple[bytes, ...], entries: tuple[Entry, ...], timestamps: int
) -> Read:
    digest = documents.mapping(document, "messageDigest", _WHERE)
    if documents.text(digest, "algorithm", _WHERE) != "SHA2_256":
        raise BadSignature("its message digest is not SHA-256: not supported")
    signature = base64_of(documents.text(document, "signature", _WHERE))
    told = base64_of(documents.text(digest, "digest", _WHERE))
    return Read(signature, b"", b"", None, told, certificates, entries, timestamps)


def _envelope(
    document: dict[str, Any], certificates: tuple[bytes, ...], entries: tuple[Entry, ...], timestamps: int
) -> Read:
    kind = documents.text(document, "payloadType", _WHERE)
    if kind != _IN_TOTO:
        raise BadSignature(f"its envelope holds {kind[:80]!r}, not an in-toto statement")
    payload = base64_of(documents.text(document, "payload", _WHERE))
    signatures = document.get("signatures")
    if not isinstance(signatures, list) or len(signatures) != 1 or not isinstance(signatures[0], dict):
        raise BadSignature("its envelope has not one signature")
    signature = base64_of(documents.text(signatures[0], "sig", _WHERE))
    signed = b"DSSEv1 %d %s %d %s" % (len(kind), kind.encode(), len(payload), payload)
    statement = _statement(documents.read_object(payload, "statement"))
    return Read(signature, signed, payload, statement, b"", certificates, entries, timestamps)


def _statement(document: dict[str, Any]) -> Statement:
    if documents.text(document, "_type", _WHERE) not in _STATEMENTS:
        raise BadSignature("its statement is of an unknown type")
    found = document.get("subject")
    if not isinstance(found, list) or not found or not all(isinstance(item, dict) for item in found):
        raise BadSignature("its statement has no subject")
    subjects = []
    for item in found[: limits.SIGNATURES]:
        digests = documents.text_mapping(item, "digest", "statement")
        subjects.append((documents.text(item, "name", "statement"), digests.get("sha256", "")))
    predicate = document.get("predicate")
    return Statement(
        tuple(subjects),
        documents.text(document, "predicateType", "statement"),
        predicate if isinstance(predicate, dict) else {},
    )


def claimed(statement: Statement, digest: Digest) -> str | None:
    """The name under which a statement speaks of `digest` ("" for none); None where it does not."""
    for name, found in statement.subjects:
        if digest.algorithm == "sha256" and found == digest.encoded:
            return name
    return None


def _certificates(material: dict[str, Any]) -> tuple[bytes, ...]:
    """DER, the signer's first."""
    single = documents.mapping(material, "certificate", _WHERE)
    if single:
        return (base64_of(documents.text(single, "rawBytes", _WHERE)),)
    chain = documents.mapping(material, "x509CertificateChain", _WHERE).get("certificates", [])
    if not isinstance(chain, list) or len(chain) > limits.CERTIFICATES:
        raise BadSignature(f"it brings more than {limits.CERTIFICATES} certificates")
    if not all(isinstance(item, dict) for item in chain):
        raise BadSignature("its certificates are malformed")
    return tuple(base64_of(documents.text(item, "rawBytes", _WHERE)) for item in chain)


def _entries(material: dict[str, Any]) -> tuple[Entry, ...]:
    found = material.get("tlogEntries") or []
    if not isinstance(found, list) or len(found) > limits.CERTIFICATES:
        raise BadSignature("it has too many log entries")
    return tuple(_entry(item) for item in found if isinstance(item, dict))


def _entry(item: dict[str, Any]) -> Entry:
    promise = documents.mapping(item, "inclusionPromise", _WHERE)
    log_id = documents.mapping(item, "logId", _WHERE)
    proof = documents.mapping(item, "inclusionProof", _WHERE)
    return Entry(
        base64_of(documents.text(item, "canonicalizedBody", _WHERE)),
        _number(item, "integratedTime"),
        _number(item, "logIndex"),
        base64_of(documents.text(log_id, "keyId", _WHERE)).hex(),
        base64_of(documents.text(promise, "signedEntryTimestamp", _WHERE)),
        _proof(proof) if proof else None,
    )


def _proof(document: dict[str, Any]) -> Proof:
    checkpoint = documents.mapping(document, "checkpoint", _WHERE)
    return Proof(
        _number(document, "logIndex"),
        _number(document, "treeSize"),
        base64_of(documents.text(document, "rootHash", _WHERE)),
        tuple(map(base64_of, documents.texts(document, "hashes", _WHERE))),
        documents.text(checkpoint, "envelope", _WHERE),
    )


def _timestamps(material: dict[str, Any]) -> int:
    data = documents.mapping(material, "timestampVerificationData", _WHERE)
    found = data.get("rfc3161Timestamps") or []
    return len(found) if isinstance(found, list) else 0


def _number(document: dict[str, Any], key: str) -> int:
    """protojson writes 64-bit numbers as strings, and leaves zeros out."""
    value = document.get(key, 0)
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 20:
        return int(value)
    if type(value) is int and value >= 0:
        return value
    raise BadSignature(f"its {key} is not a number")
