"""Code-signing certificates: a chain to a given root at a given time, and whom the certificate speaks of.

RFC 5280, section 6, as far as certificates of Fulcio and of private authorities need it. What is not
understood refuses: a critical extension that is unknown here, a name constraint.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID

from orlop.image.signature.keys import PublicKey, usable
from orlop.image.signature.model import BadSignature
from orlop.kit import limits
from orlop.kit.errors import InvalidInput, OrlopError

_ISSUER = x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.1")  # Fulcio's, the text itself
_ISSUER_V2 = x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.8")  # DER: a UTF8String
_OTHER_NAME = x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.7")  # Fulcio's user names
_UTF8_STRING = 0x0C
_LOOKS = 1000  # at pairs of certificates, while a path is looked for
_UNDERSTOOD = frozenset(
    {
        ExtensionOID.BASIC_CONSTRAINTS,
        ExtensionOID.KEY_USAGE,
        ExtensionOID.EXTENDED_KEY_USAGE,
        ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
        ExtensionOID.AUTHORITY_KEY_IDENTIFIER,
        ExtensionOID.SUBJECT_KEY_IDENTIFIER,
    }
)
_BEGIN = b"-----BEGIN CERTIFICATE-----"
E = TypeVar("E", bound=x509.ExtensionType)


def certificates(data: bytes, subject: str) -> tuple[x509.Certificate, ...]:
    """Those of a PEM file, at least one. Raises InvalidInput."""
    try:
        found = tuple(x509.load_pem_x509_certificates(data))
    except (ValueError, UnsupportedAlgorithm) as error:
        raise InvalidInput(
            subject, f"has no certificate: {error}"[:200], hint="give a PEM file with certificates"
        ) from None
    return found


def read(data: bytes) -> tuple[x509.Certificate, ...]:
    """The certificates that came with a signature, PEM (several) or DER (one). Raises BadSignature."""
    if data.count(_BEGIN) > limits.CERTIFICATES:
        raise BadSignature(f"it brings more than {limits.CERTIFICATES} certificates")
    try:
        if data.lstrip().startswith(_BEGIN):
            return tuple(x509.load_pem_x509_certificates(data))
        return (x509.load_der_x509_certificate(data),)
    except (ValueError, UnsupportedAlgorithm):
        raise BadSignature("its certificate is malformed") from None


def public_key(certificate: x509.Certificate) -> PublicKey:
    """Raises BadSignature."""
    try:
        return usable(certificate.public_key(), "certificate")
    except (OrlopError, ValueError, UnsupportedAlgorithm):
        raise BadSignature("its certificate has a key of a kind that is not used here") from None


def check(
    leaf: x509.Certificate,
    between: Sequence[x509.Certificate],
    roots: Sequence[x509.Certificate],
    moment: dt.datetime,
) -> None:
    """Whether `leaf` was a code-signing certificate below one of `roots` at `moment`. Raises BadSignature."""
    try:
        _check_leaf(leaf, moment)
        _climb(leaf, tuple(between[: limits.CERTIFICATES]), tuple(roots), moment)
    except (ValueError, x509.DuplicateExtension, UnsupportedAlgorithm):
        raise BadSignature("its certificate is malformed") from None


def subjects(certificate: x509.Certificate) -> tuple[str, ...]:
    """Whom it speaks of: e-mail addresses, URIs, host names, Fulcio's user names."""
    return tuple(text for _, text in _names(certificate))


def emails(certificate: x509.Certificate) -> tuple[str, ...]:
    return tuple(text for kind, text in _names(certificate) if kind == "email")


def is_for_host(certificate: x509.Certificate, host: str) -> bool:
    """RFC 9525, section 6.3: a wildcard stands for one whole label, the first."""
    wanted = host.lower().rstrip(".")
    for kind, text in _names(certificate):
        name = text.lower().rstrip(".")
        if kind == "host" and (name == wanted or (name[:2] == "*." and wanted.partition(".")[2] == name[2:])):
            return True
    return False


def issuer(certificate: x509.Certificate) -> str:
    """Who vouched for the subject to Fulcio; "" where it is not said. Raises BadSignature."""
    old, new = _raw(certificate, _ISSUER), _raw(certificate, _ISSUER_V2)
    texts = {value for value in (old, None if new is None else _utf8(new)) if value is not None}
    if len(texts) > 1:
        raise BadSignature("its certificate names two issuers")
    try:
        return next(iter(texts), b"").decode()
    except UnicodeDecodeError:
        raise BadSignature("its certificate's issuer is no text") from None


def _check_leaf(leaf: x509.Certificate, moment: dt.datetime) -> None:
    _check_common(leaf, moment)
    if _is_authority(leaf):
        raise BadSignature("its certificate is an authority's")
    usage = _extension(leaf, x509.KeyUsage)
    if usage is not None and not usage.digital_signature:
        raise BadSignature("its certificate is not for signing")
    purposes = _extension(leaf, x509.ExtendedKeyUsage)
    if purposes is None or ExtendedKeyUsageOID.CODE_SIGNING not in purposes:
        raise BadSignature("its certificate is not for signing code")


def _climb(
    leaf: x509.Certificate,
    between: tuple[x509.Certificate, ...],
    roots: tuple[x509.Certificate, ...],
    moment: dt.datetime,
) -> None:
    """Depth first, each certificate once in a path; certificates that all issue each other are given up."""
    reasons: list[str] = []
    looks = 0

    def reaches_root(below: x509.Certificate, path: tuple[x509.Certificate, ...]) -> bool:
        nonlocal looks
        for above in (*roots, *between):
            looks += 1
            if looks > _LOOKS:
                raise BadSignature("its certificates lead everywhere")
            if above in path or not _issued(above, below):
                continue
            try:
                _check_authority(above, moment, len(path) - 1)
            except BadSignature as error:
                reasons.append(error.cause)
                continue
            if above in roots or (len(path) < limits.CERTIFICATES and reaches_root(above, (*path, above))):
                return True
        return False

    if not reaches_root(leaf, (leaf,)):
        because = f": {reasons[0]}" if reasons else ""
        raise BadSignature(f"its certificate does not lead to a root that is trusted{because}")


def _check_authority(certificate: x509.Certificate, moment: dt.datetime, below: int) -> None:
    """`below`: how many authorities stand between it and the signer's certificate."""
    _check_common(certificate, moment)
    constraints = _extension(certificate, x509.BasicConstraints)
    if constraints is None or not constraints.ca:
        raise BadSignature("a certificate above it is no authority's")
    if constraints.path_length is not None and below > constraints.path_length:
        raise BadSignature("an authority above it may not issue so far down")
    usage = _extension(certificate, x509.KeyUsage)
    if usage is not None and not usage.key_cert_sign:
        raise BadSignature("a certificate above it may not sign certificates")
    purposes = _extension(certificate, x509.ExtendedKeyUsage)
    allowed = (ExtendedKeyUsageOID.CODE_SIGNING, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE)
    if purposes is not None and not any(purpose in purposes for purpose in allowed):
        raise BadSignature("an authority above it is not for signing code")


def _check_common(certificate: x509.Certificate, moment: dt.datetime) -> None:
    if not certificate.not_valid_before_utc <= moment <= certificate.not_valid_after_utc:
        raise BadSignature(f"a certificate was not valid at {moment:%Y-%m-%d %H:%M:%S} UTC")
    for extension in certificate.extensions:
        if extension.oid == ExtensionOID.NAME_CONSTRAINTS:
            raise BadSignature("a certificate above it has name constraints, which are not supported")
        if extension.critical and extension.oid not in _UNDERSTOOD:
            raise BadSignature(
                f"a certificate has an unknown critical extension {extension.oid.dotted_string}"
            )


def _issued(above: x509.Certificate, below: x509.Certificate) -> bool:
    try:
        below.verify_directly_issued_by(above)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _is_authority(certificate: x509.Certificate) -> bool:
    constraints = _extension(certificate, x509.BasicConstraints)
    return constraints is not None and constraints.ca


def _extension(certificate: x509.Certificate, kind: type[E]) -> E | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def _names(certificate: x509.Certificate) -> Iterable[tuple[str, str]]:
    try:
        found = _extension(certificate, x509.SubjectAlternativeName)
    except (ValueError, x509.DuplicateExtension):
        raise BadSignature("its certificate is malformed") from None
    for name in found or ():
        if isinstance(name, x509.RFC822Name):
            yield "email", name.value
        elif isinstance(name, x509.UniformResourceIdentifier):
            yield "uri", name.value
        elif isinstance(name, x509.DNSName):
            yield "host", name.value
        elif isinstance(name, x509.OtherName) and name.type_id == _OTHER_NAME:
            yield "user", _utf8(name.value).decode(errors="replace")


def _raw(certificate: x509.Certificate, oid: x509.ObjectIdentifier) -> bytes | None:
    try:
        value = certificate.extensions.get_extension_for_oid(oid).value
    except x509.ExtensionNotFound:
        return None
    except (ValueError, x509.DuplicateExtension):
        raise BadSignature("its certificate is malformed") from None
    return value.value if isinstance(value, x509.UnrecognizedExtension) else None


def _utf8(data: bytes) -> bytes:
    """What a DER UTF8String of any length up to 64 KiB holds. Raises BadSignature."""
    if len(data) >= 2 and data[0] == _UTF8_STRING:
        length, start = data[1], 2
        if length in (0x81, 0x82) and len(data) >= 2 + (length & 0x7F):
            start = 2 + (length & 0x7F)
            length = int.from_bytes(data[2:start], "big")
        if len(data) == start + length:
            return data[start:]
    raise BadSignature("its certificate has a name that is malformed")
