"""From what a policy names (files, data) to keys and certificates."""

from __future__ import annotations

from cryptography import x509

from orlop.image.policy.judge import contents
from orlop.image.policy.model import Material, SigstoreSigned
from orlop.image.signature import certificate, keys
from orlop.image.signature.keys import PublicKey
from orlop.image.signature.sigstore import Trust


def trust_of(requirement: SigstoreSigned, where: str) -> Trust:
    """Raises InvalidInput where something cannot be read."""
    logs = _keys(requirement.rekor, where)
    if requirement.fulcio is not None:
        fulcio = requirement.fulcio
        return Trust(
            roots=_certificates(fulcio.ca, where), email=fulcio.email, issuer=fulcio.issuer, logs=logs
        )
    if requirement.pki is not None:
        pki = requirement.pki
        return Trust(
            roots=_certificates(pki.roots, where),
            intermediates=_certificates(pki.intermediates, where),
            email=pki.email,
            hostname=pki.hostname,
            now=True,
        )
    return Trust(keys=_keys(requirement.keys, where), logs=logs)


def _keys(material: Material, where: str) -> tuple[PublicKey, ...]:
    return tuple(key for name, data in _named(material, where) for key in keys.public_keys(data, name))


def _certificates(material: Material, where: str) -> tuple[x509.Certificate, ...]:
    found = _named(material, where)
    return tuple(one for name, data in found for one in certificate.certificates(data, name))


def _named(material: Material, where: str) -> list[tuple[str, bytes]]:
    return [*((path, contents(path)) for path in material.paths), *((where, data) for data in material.data)]
