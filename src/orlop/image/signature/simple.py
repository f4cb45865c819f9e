"""Simple signing: containers-signature(5). OpenPGP around a payload that names a digest and a reference."""

from __future__ import annotations

from collections.abc import Sequence

from orlop.image.signature import payload
from orlop.image.signature.gpg import Keyring
from orlop.image.signature.model import BadSignature, Simple, Verified
from orlop.image.signature.sigstore import manifest_digest
from orlop.image.transport.source import RawManifest


def verify(signature: Simple, manifests: Sequence[RawManifest], keyring: Keyring) -> Verified:
    """What the signature proves of one of `manifests`. Raises BadSignature."""
    content, fingerprint, stamp = keyring.verify(signature.data)
    read = payload.read(content, payload.ATOMIC)
    if all(manifest_digest(manifest, read.digest.algorithm) != read.digest for manifest in manifests):
        raise BadSignature(f"it is of another manifest, {read.digest}")
    return Verified("simple", read.digest, read.reference, fingerprint, time=stamp, annotations=read.optional)
