"""The transparency log (Rekor): its promise, its proof, and that an entry is of this very signature.

Keys of the log are given. A promise (SignedEntryTimestamp) is the log's signature of body, time and place of
an entry; a proof leads by hashes (RFC 6962, section 2.1.1) to a root that the log signed in a checkpoint.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization

from orlop.image import documents
from orlop.image.signature import keys as keys_module
from orlop.image.signature.keys import PublicKey
from orlop.image.signature.model import BadSignature
from orlop.kit import limits
from orlop.kit.errors import OrlopError
from orlop.kit.value import dataclass

_NOTE_HASH = 4  # bytes of a key's hash that begin a checkpoint's signature


@dataclass(frozen=True)
class Proof:
    """`hashes` lead from the entry at `index` of a tree of `size` entries to `root`."""

    index: int
    size: int
    root: bytes
    hashes: tuple[bytes, ...]
    checkpoint: str


@dataclass(frozen=True)
class Entry:
    """`body` is what the log keeps; `time` in seconds; `promise` is b"" where there is none."""

    body: bytes
    time: int
    index: int
    log_id: str  # hexadecimal
    promise: bytes = b""
    proof: Proof | None = None


@dataclass(frozen=True)
class Signer:
    """What must stand in an entry: the signature, what it is of, and the certificate's or the key's bytes."""

    signature: bytes
    payload: bytes
    verifier: bytes  # DER: of the certificate where there is one, else of the public key


def entry_of_annotation(text: str) -> Entry:
    """cosign's annotation `dev.sigstore.cosign/bundle`. Raises BadSignature."""
    try:
        document = documents.read_object(text.encode(errors="replace"), "log entry")
        payload = documents.mapping(document, "Payload", "log entry")
        promise = base64_of(documents.text(document, "SignedEntryTimestamp", "log entry"))
        body = base64_of(documents.text(payload, "body", "log entry"))
        log_id = documents.text(payload, "logID", "log entry")
    except OrlopError as error:
        raise BadSignature(f"its log entry is malformed: {error.cause}") from None
    return Entry(body, _whole(payload, "integratedTime"), _whole(payload, "logIndex"), log_id, promise)


def annotation(entry: Entry) -> str:
    """The annotation's text, as cosign writes it."""
    document = {
        "SignedEntryTimestamp": base64.b64encode(entry.promise).decode(),
        "Payload": json.loads(_promised(entry)),
    }
    return json.dumps(document, separators=(",", ":"))


def check(entry: Entry, logs: Sequence[PublicKey], signer: Signer, *, timed: bool) -> None:
    """Whether one of `logs` vouches for `entry`, and it is of this signature. Raises BadSignature.

    `timed`: its time must be vouched for too, which only a promise does.
    """
    if timed and not entry.promise:
        raise BadSignature(
            "the log did not sign the time of its entry (timestamps by RFC 3161 are not supported)"
        )
    if not entry.promise and entry.proof is None:
        raise BadSignature("the log neither promised nor proved that it has the entry")
    log = next((key for key in logs if keys_module.fingerprint(key) == entry.log_id.lower()), None)
    if log is None:
        raise BadSignature("its log is none of those that are trusted")
    if entry.promise and not keys_module.verifies(log, entry.promise, _promised(entry)):
        raise BadSignature("the log's promise is not by the log's key")
    if entry.proof is not None:
        _check_proof(entry.body, entry.proof, log)
    _check_body(entry.body, signer)


def _promised(entry: Entry) -> bytes:
    """RFC 8785's canonical JSON, which for these values is sorted keys without white space."""
    document = {
        "body": base64.b64encode(entry.body).decode(),
        "integratedTime": entry.time,
        "logID": entry.log_id,
        "logIndex": entry.index,
    }
    return json.dumps(document, separators=(",", ":"), sort_keys=True).encode()


def _check_body(body: bytes, signer: Signer) -> None:
    try:
        document = documents.read_object(body, "log entry")
        kind = documents.text(document, "kind", "log entry")
        version = documents.text(document, "apiVersion", "log entry")
        spec = documents.mapping(document, "spec", "log entry")
        if (kind, version) == ("hashedrekord", "0.0.1"):
            _check_hashedrekord(spec, signer)
        elif (kind, version) == ("dsse", "0.0.1"):
            _check_dsse(spec, signer)
        else:
            raise BadSignature(f"its log entry is of the kind {kind[:40]} {version[:20]}: not supported")
    except BadSignature:
        raise
    except OrlopError as error:
        raise BadSignature(f"its log entry is malformed: {error.cause}") from None


def _check_hashedrekord(spec: dict[str, Any], signer: Signer) -> None:
    data = documents.mapping(spec, "data", "log entry")
    found = documents.mapping(data, "hash", "log entry")
    _check_hash(found, signer.payload)
    signature = documents.mapping(spec, "signature", "log entry")
    key = documents.mapping(signature, "publicKey", "log entry")
    _check_signature(
        documents.text(signature, "content", "log entry"), documents.text(key, "content", "log entry"), signer
    )


def _check_dsse(spec: dict[str, Any], signer: Signer) -> None:
    _check_hash(documents.mapping(spec, "payloadHash", "log entry"), signer.payload)
    signatures = spec.get("signatures")
    if not isinstance(signatures, list) or len(signatures) != 1 or not isinstance(signatures[0], dict):
        raise BadSignature("its log entry has not one signature")
    _check_signature(
        documents.text(signatures[0], "signature", "log entry"),
        documents.text(signatures[0], "verifier", "log entry"),
        signer,
    )


def _check_hash(found: dict[str, Any], payload: bytes) -> None:
    algorithm = documents.text(found, "algorithm", "log entry")
    if algorithm not in ("sha256", "sha384", "sha512"):
        raise BadSignature(f"its log entry has a hash {algorithm[:20]!r}: not supported")
    if documents.text(found, "value", "log entry").lower() != hashlib.new(algorithm, payload).hexdigest():
        raise BadSignature("its log entry is of something else")


def _check_signature(content: str, verifier: str, signer: Signer) -> None:
    if base64_of(content) != signer.signature:
        raise BadSignature("its log entry is of another signature")
    if _verifier_der(base64_of(verifier)) != signer.verifier:
        raise BadSignature("its log entry is of another key")


def _verifier_der(pem: bytes) -> bytes:
    try:
        if b"BEGIN CERTIFICATE" in pem:
            return x509.load_pem_x509_certificate(pem).public_bytes(serialization.Encoding.DER)
        key = serialization.load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm):
        raise BadSignature("its log entry's key is malformed") from None
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def _check_proof(body: bytes, proof: Proof, log: PublicKey) -> None:
    _check_checkpoint(proof, log)
    if _root(hashlib.sha256(b"\0" + body).digest(), proof) != proof.root:
        raise BadSignature("the log's proof does not lead to its root")


def _root(leaf: bytes, proof: Proof) -> bytes:
    """RFC 9162, section 2.1.3.2. Raises BadSignature where the proof has not the length that it must have."""
    if not 0 <= proof.index < proof.size or len(proof.hashes) > limits.LOG_PROOF:
        raise BadSignature("the log's proof is malformed")
    place, last, found = proof.index, proof.size - 1, leaf
    for other in proof.hashes:
        if last == 0:
            raise BadSignature("the log's proof is too long")
        if place & 1 or place == last:
            found = hashlib.sha256(b"\1" + other + found).digest()
            while place and not place & 1:
                place, last = place >> 1, last >> 1
        else:
            found = hashlib.sha256(b"\1" + found + other).digest()
        place, last = place >> 1, last >> 1
    if last:
        raise BadSignature("the log's proof is too short")
    return found


def _check_checkpoint(proof: Proof, log: PublicKey) -> None:
    """A signed note: origin, size, root hash, other lines, an empty line, signatures."""
    text, separator, signatures = proof.checkpoint.partition("\n\n")
    lines = text.split("\n")
    if not separator or len(lines) < 3:
        raise BadSignature("the log's checkpoint is malformed")
    if lines[1] != str(proof.size) or base64_of(lines[2]) != proof.root:
        raise BadSignature("the log's checkpoint is of another tree")
    for line in signatures.splitlines():
        words = line.split(" ")
        if len(words) != 3 or words[0] != "\u2014":
            continue
        signature = base64_of(words[2])[_NOTE_HASH:]
        if keys_module.verifies(log, signature, (text + "\n").encode(errors="replace")):
            return
    raise BadSignature("the log's checkpoint is not by the log's key")


def base64_of(text: str) -> bytes:
    """Raises BadSignature."""
    try:
        return binascii.a2b_base64(text.encode("ascii"), strict_mode=True) if text else b""
    except ValueError:
        raise BadSignature("it holds base64 that is none") from None


def _whole(document: Mapping[str, Any], key: str) -> int:
    value = document.get(key)
    if type(value) is not int or not 0 <= value < 2**63:
        raise BadSignature(f"its log entry's {key} is not a number")
    return value
