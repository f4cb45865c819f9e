"""Private keys: plain PEM, and cosign's encrypted form (scrypt and NaCl's secretbox, as go-tuf writes it)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import os
import textwrap
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from orlop.image import documents
from orlop.image.signature.keys import PrivateKey, PublicKey, usable
from orlop.kit import limits
from orlop.kit.errors import Denied, InvalidInput, OrlopError

_TYPES = ("ENCRYPTED SIGSTORE PRIVATE KEY", "ENCRYPTED COSIGN PRIVATE KEY")
_CIPHER = "nacl/secretbox"
_KEY_BYTES = 32
_SALT_BYTES = 32
_COST = {"N": 65536, "r": 8, "p": 1}  # what cosign writes now
_HINT = "give cosign.key, or a PEM file with a private key"


def generate(password: bytes) -> tuple[bytes, bytes]:
    """A new ECDSA P-256 key: (cosign.key, cosign.pub)."""
    key = ec.generate_private_key(ec.SECP256R1())
    return encrypted(key, password), public_pem(key.public_key())


def public_pem(key: PublicKey) -> bytes:
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def encrypted(key: PrivateKey, password: bytes) -> bytes:
    """The key as cosign writes it."""
    from nacl.secret import SecretBox

    plain = key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    salt, nonce = os.urandom(_SALT_BYTES), os.urandom(SecretBox.NONCE_SIZE)
    sealed = SecretBox(_stretched(password, salt, _COST, "key")).encrypt(plain, nonce).ciphertext
    document = {
        "kdf": {"name": "scrypt", "params": _COST, "salt": base64.b64encode(salt).decode()},
        "cipher": {"name": _CIPHER, "nonce": base64.b64encode(nonce).decode()},
        "ciphertext": base64.b64encode(sealed).decode(),
    }
    body = base64.b64encode(json.dumps(document, separators=(",", ":")).encode()).decode()
    lines = "\n".join(textwrap.wrap(body, 64))
    return f"-----BEGIN {_TYPES[0]}-----\n{lines}\n-----END {_TYPES[0]}-----\n".encode()


def is_encrypted(data: bytes) -> bool:
    return b"-----BEGIN ENCRYPTED" in data or b"Proc-Type: 4,ENCRYPTED" in data


def load(data: bytes, password: bytes, subject: str) -> PrivateKey:
    """Raises InvalidInput (no key of a kind that is used here), Denied (the password is wrong)."""
    for kind in _TYPES:
        begin, end = f"-----BEGIN {kind}-----".encode(), f"-----END {kind}-----".encode()
        _, found, rest = data.partition(begin)
        if found:
            return _checked(_decrypted(rest.partition(end)[0], password, subject), subject)
    try:
        key = serialization.load_pem_private_key(data, password if is_encrypted(data) else None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        if is_encrypted(data):
            raise Denied(subject, "does not open with this password", hint="give the right one") from None
        raise InvalidInput(subject, f"is no private key: {error}"[:200], hint=_HINT) from None
    return _checked(key, subject)


def _checked(key: object, subject: str) -> PrivateKey:
    if not isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey):
        raise InvalidInput(subject, "is a key of a kind that is not used here", hint=_HINT)
    usable(key.public_key(), subject)
    return key


def _decrypted(body: bytes, password: bytes, subject: str) -> object:
    from nacl.exceptions import CryptoError
    from nacl.secret import SecretBox

    try:
        document = documents.read_object(binascii.a2b_base64(body), subject)
        kdf = documents.mapping(document, "kdf", subject)
        cipher = documents.mapping(document, "cipher", subject)
        if kdf.get("name") != "scrypt" or cipher.get("name") != _CIPHER:
            raise InvalidInput(subject, "is encrypted in an unknown way", hint=_HINT)
        salt, nonce, sealed = (
            binascii.a2b_base64(documents.text(owner, key, subject).encode())
            for owner, key in ((kdf, "salt"), (cipher, "nonce"), (document, "ciphertext"))
        )
        secret = _stretched(password, salt, documents.mapping(kdf, "params", subject), subject)
        plain = SecretBox(secret).decrypt(sealed, nonce)
    except CryptoError:
        raise Denied(subject, "does not open with this password", hint="give the right one") from None
    except InvalidInput:
        raise
    except (ValueError, TypeError, OrlopError) as error:
        raise InvalidInput(subject, f"is malformed: {error}"[:200], hint=_HINT) from None
    try:
        return serialization.load_der_private_key(plain, None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise InvalidInput(subject, f"holds no private key: {error}"[:200], hint=_HINT) from None


def _stretched(password: bytes, salt: bytes, cost: dict[str, Any], subject: str) -> bytes:
    n, r, p = (cost.get(name) for name in ("N", "r", "p"))
    if not (type(n) is int and type(r) is int and type(p) is int) or min(n, r, p) < 1:
        raise InvalidInput(subject, "does not say how its password is stretched", hint=_HINT)
    if 128 * n * r > limits.SCRYPT_MEMORY or p > 16:
        raise InvalidInput(
            subject, f"wants more than {limits.SCRYPT_MEMORY} bytes of memory for its password", hint=_HINT
        )
    maximum = 2 * limits.SCRYPT_MEMORY
    return hashlib.scrypt(password, salt=salt, n=n, r=r, p=p, maxmem=maximum, dklen=_KEY_BYTES)
