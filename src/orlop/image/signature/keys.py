"""Public keys and what they verify: ECDSA (P-256, P-384, P-521), RSA (PKCS #1 v1.5, PSS), Ed25519."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

from orlop.kit.errors import InvalidInput

PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey
PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey
_CURVES: dict[str, tuple[hashes.HashAlgorithm, ...]] = {
    # cosign signs with SHA-256 on every curve, newer sigstore with the curve's own
    "secp256r1": (hashes.SHA256(),),
    "secp384r1": (hashes.SHA256(), hashes.SHA384()),
    "secp521r1": (hashes.SHA256(), hashes.SHA512()),
}
_RSA_BITS = 2048
_BEGIN = b"-----BEGIN "


def public_keys(data: bytes, subject: str) -> tuple[PublicKey, ...]:
    """The keys of a PEM file (`cosign.pub`), at least one. Raises InvalidInput."""
    blocks = [_BEGIN + block for block in data.split(_BEGIN)[1:]]
    if not blocks:
        raise InvalidInput(subject, "has no public key", hint="give a PEM file such as cosign.pub")
    return tuple(_loaded(block, subject) for block in blocks)


def _loaded(block: bytes, subject: str) -> PublicKey:
    try:
        key = serialization.load_pem_public_key(block)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise InvalidInput(
            subject, f"is no public key: {error}"[:200], hint="give a PEM file such as cosign.pub"
        ) from None
    return usable(key, subject)


def usable(key: object, subject: str) -> PublicKey:
    """`key`, if it is of a kind that is trusted with signatures. Raises InvalidInput."""
    if isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name in _CURVES:
        return key
    if isinstance(key, rsa.RSAPublicKey) and key.key_size >= _RSA_BITS:
        return key
    if isinstance(key, ed25519.Ed25519PublicKey):
        return key
    raise InvalidInput(
        subject,
        "is a key of a kind that is not used here",
        hint="use ECDSA (P-256, P-384, P-521), RSA of 2048 bits or more, or Ed25519",
    )


def der(key: PublicKey) -> bytes:
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def fingerprint(key: PublicKey) -> str:
    """SHA-256 of the key's SubjectPublicKeyInfo: what a log calls its ID as well."""
    return hashlib.sha256(der(key)).hexdigest()


def verifies(key: PublicKey, signature: bytes, data: bytes) -> bool:
    if isinstance(key, ec.EllipticCurvePublicKey):
        return any(_ecdsa(key, signature, data, kind) for kind in _CURVES[key.curve.name])
    if isinstance(key, rsa.RSAPublicKey):
        pss = padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.AUTO)
        return any(_rsa(key, signature, data, way) for way in (padding.PKCS1v15(), pss))
    return _ed25519(key, signature, data) or _ed25519_hashed(key, signature, data)


def first(keys: Iterable[PublicKey], signature: bytes, data: bytes) -> PublicKey | None:
    """The key that made the signature."""
    return next((key for key in keys if verifies(key, signature, data)), None)


def sign(key: PrivateKey, data: bytes) -> bytes:
    """As cosign does it: SHA-256 on every curve, PKCS #1 v1.5."""
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return key.sign(data, ec.ECDSA(hashes.SHA256()))
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(data, padding.PKCS1v15(), hashes.SHA256())
    return key.sign(data)


def _ed25519(key: ed25519.Ed25519PublicKey, signature: bytes, data: bytes) -> bool:
    try:
        key.verify(signature, data)
    except InvalidSignature:
        return False
    return True


def _ed25519_hashed(key: ed25519.Ed25519PublicKey, signature: bytes, data: bytes) -> bool:
    """Ed25519ph (RFC 8032, section 5.1), which cosign writes since 2.5: a log knows nothing but a hash."""
    from nacl import bindings
    from nacl.exceptions import CryptoError

    if len(signature) != bindings.crypto_sign_BYTES:
        return False
    state = bindings.crypto_sign_ed25519ph_state()
    bindings.crypto_sign_ed25519ph_update(state, data)
    try:
        public = key.public_bytes_raw()
        return bool(bindings.crypto_sign_ed25519ph_final_verify(state, signature, public))
    except CryptoError:
        return False


def _ecdsa(key: ec.EllipticCurvePublicKey, signature: bytes, data: bytes, kind: hashes.HashAlgorithm) -> bool:
    try:
        key.verify(signature, data, ec.ECDSA(kind))
    except InvalidSignature:
        return False
    return True


def _rsa(key: rsa.RSAPublicKey, signature: bytes, data: bytes, way: padding.PKCS1v15 | padding.PSS) -> bool:
    try:
        key.verify(signature, data, way, hashes.SHA256())
    except InvalidSignature:
        return False
    return True
