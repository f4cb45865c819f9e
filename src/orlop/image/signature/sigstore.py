"""Sigstore signatures, attached or in bundles: by a given key, or with a certificate below given roots."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Sequence

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from orlop.image.digest import Digest
from orlop.image.signature import bundle, certificate, keys, log, payload
from orlop.image.signature.keys import PublicKey
from orlop.image.signature.log import Entry, Signer
from orlop.image.signature.model import (
    CERTIFICATE,
    CHAIN,
    LOG,
    PAYLOAD,
    SIGNATURE,
    TIMESTAMP,
    Attached,
    BadSignature,
    Bundle,
    Verified,
)
from orlop.image.transport.source import RawManifest
from orlop.kit.value import dataclass


@dataclass(frozen=True)
class Trust:
    """Whom to believe: keys, or certificates below `roots` for the subject that is named.

    `subject` is any name of the certificate, `email` and `hostname` names of that kind, `issuer` who vouched
    for it to Fulcio. "" is not asked for. With `logs` one of them must have the signature. `now` says that
    certificates count as of now, without a log.
    """

    keys: tuple[PublicKey, ...] = ()
    roots: tuple[x509.Certificate, ...] = ()
    intermediates: tuple[x509.Certificate, ...] = ()
    subject: str = ""
    email: str = ""
    hostname: str = ""
    issuer: str = ""
    logs: tuple[PublicKey, ...] = ()
    now: bool = False


def verify(signature: Attached | Bundle, manifests: Sequence[RawManifest], trust: Trust) -> Verified:
    """What the signature proves of one of `manifests`. Raises BadSignature."""
    if isinstance(signature, Attached):
        return _attached(signature, manifests, trust)
    return _bundle(signature, manifests, trust)


def _attached(signature: Attached, manifests: Sequence[RawManifest], trust: Trust) -> Verified:
    if signature.media_type != PAYLOAD:
        raise BadSignature(f"it is of the type {signature.media_type[:80]!r}")
    raw = log.base64_of(signature.annotations.get(SIGNATURE, ""))
    # JSON can hold halves of surrogate pairs, which no text can.
    chain, above = (
        signature.annotations.get(key, "").encode(errors="replace") for key in (CERTIFICATE, CHAIN)
    )
    chain += b"\n" + above
    text = signature.annotations.get(LOG, "")
    entries = (log.entry_of_annotation(text),) if text else ()
    found = certificate.read(chain) if chain.strip() else ()
    stamped = TIMESTAMP in signature.annotations
    told = _check(raw, signature.payload, signature.payload, found, entries, trust, stamped=stamped)
    # Only now that somebody who is trusted wrote it, it is read.
    read = payload.read(signature.payload, payload.COSIGN)
    if all(manifest_digest(manifest, read.digest.algorithm) != read.digest for manifest in manifests):
        raise BadSignature(f"it is of another manifest, {read.digest}")
    return Verified("sigstore", read.digest, read.reference, annotations=read.optional, **told)  # type: ignore[arg-type]


def _bundle(signature: Bundle, manifests: Sequence[RawManifest], trust: Trust) -> Verified:
    read = bundle.read(signature.data)
    found = tuple(one for data in read.certificates for one in certificate.read(data))
    stamped = read.timestamps > 0
    if read.statement is not None:
        told = _check(read.signature, read.signed, read.payload, found, read.entries, trust, stamped=stamped)
        for manifest in manifests:
            digest = manifest_digest(manifest, "sha256")
            name = bundle.claimed(read.statement, digest)
            if name is not None:
                kind = read.statement.predicate_type
                if kind != bundle.SIGN_PREDICATE:
                    raise BadSignature(f"it is an attestation ({kind[:80]}), not a signature of the image")
                return Verified("bundle", digest, name, annotations=read.statement.annotations, **told)  # type: ignore[arg-type]
        raise BadSignature("its statement is of another manifest")
    for manifest in manifests:
        if hashlib.sha256(manifest.data).digest() == read.message_digest:
            data = manifest.data
            told = _check(read.signature, data, data, found, read.entries, trust, stamped=stamped)
            return Verified("bundle", manifest_digest(manifest, "sha256"), "", **told)  # type: ignore[arg-type]
    raise BadSignature("it is of another manifest")


def manifest_digest(manifest: RawManifest, algorithm: str) -> Digest:
    """Computed here, whatever anybody says."""
    return Digest.of(manifest.data, algorithm)


def _check(
    signature: bytes,
    signed: bytes,
    logged: bytes,
    chain: tuple[x509.Certificate, ...],
    entries: tuple[Entry, ...],
    trust: Trust,
    *,
    stamped: bool,
) -> dict[str, str | int]:
    """Who made `signature` of `signed`; `logged` is what a log entry's hash is of. Raises BadSignature."""
    if not signature:
        raise BadSignature("it is empty")
    if trust.keys:
        key = keys.first(trust.keys, signature, signed)
        if key is None:
            raise BadSignature("it is not by a key that is trusted")
        told: dict[str, str | int] = {"key": keys.fingerprint(key)}
        if trust.logs:
            told |= _logged(entries, trust, Signer(signature, logged, keys.der(key)), timed=False)
        return told
    if not chain:
        raise BadSignature("it has no certificate")
    leaf = chain[0]
    key = certificate.public_key(leaf)
    if not keys.verifies(key, signature, signed):
        raise BadSignature("it is not by its certificate's key")
    moment = dt.datetime.now(dt.UTC)
    told = {"key": keys.fingerprint(key)}
    if not trust.now:
        if not entries and stamped:
            raise BadSignature("it has a timestamp by RFC 3161 and no log entry: not supported")
        der = leaf.public_bytes(serialization.Encoding.DER)
        told |= _logged(entries, trust, Signer(signature, logged, der), timed=True)
        moment = dt.datetime.fromtimestamp(int(told["time"]), dt.UTC)
    certificate.check(leaf, (*chain[1:], *trust.intermediates), trust.roots, moment)
    return told | _subject(leaf, trust)


def _logged(entries: tuple[Entry, ...], trust: Trust, signer: Signer, *, timed: bool) -> dict[str, str | int]:
    """The entry that a trusted log vouches for; with several entries, one is enough."""
    reason = BadSignature("it has no log entry")
    for entry in entries:
        try:
            log.check(entry, trust.logs, signer, timed=timed)
        except BadSignature as error:
            reason = error
            continue
        # A time that no promise covers is nobody's word.
        return {"log_index": entry.index, "time": entry.time if entry.promise else 0}
    raise reason


def _subject(leaf: x509.Certificate, trust: Trust) -> dict[str, str | int]:
    names = certificate.subjects(leaf)
    if trust.subject and trust.subject not in names:
        raise BadSignature(f"its certificate is of {', '.join(names) or 'nobody'}, not of {trust.subject}")
    if trust.email:
        found = certificate.emails(leaf)
        if trust.email not in found:
            raise BadSignature(f"its certificate is of {', '.join(found) or 'nobody'}, not of {trust.email}")
    if trust.hostname and not certificate.is_for_host(leaf, trust.hostname):
        raise BadSignature(f"its certificate is of {', '.join(names) or 'nobody'}, not of {trust.hostname}")
    vouched = certificate.issuer(leaf)
    if trust.issuer and vouched != trust.issuer:
        raise BadSignature(f"its certificate is vouched for by {vouched or 'nobody'}, not by {trust.issuer}")
    shown = trust.subject or trust.email or trust.hostname or ", ".join(names)
    return {"subject": shown, "issuer": vouched}
