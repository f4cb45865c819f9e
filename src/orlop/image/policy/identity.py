"""Whether the name in a signature is good for the image that was asked for (`signedIdentity`)."""

from __future__ import annotations

from orlop.image.policy import model
from orlop.image.policy.model import IdentityRule
from orlop.image.reference import DEFAULT_TAG, Reference
from orlop.kit.errors import OrlopError


def matches(rule: IdentityRule, asked: Reference | None, claimed: str) -> bool:
    """`claimed` is the signature's word for the image, "" for none; `asked` is None where it has no name."""
    if rule.kind == model.MATCH_DIGEST:
        return True
    try:
        signed = Reference.parse(claimed)
    except OrlopError:
        return False
    whole = bool(signed.digest) or signed.tag != DEFAULT_TAG or claimed.endswith(f":{DEFAULT_TAG}")
    if rule.kind == model.EXACT_REFERENCE:
        return whole and signed.canonical == rule.value
    if rule.kind == model.EXACT_REPOSITORY:
        return signed.name == rule.value
    if asked is None:
        return False
    if rule.kind == model.MATCH_REPOSITORY:
        return signed.name == asked.name
    if rule.kind == model.MATCH_EXACT:
        return whole and signed.canonical == asked.canonical
    if rule.kind == model.REMAP:
        remapped = _remapped(rule, asked)
        return remapped is not None and whole and _digest_or_exact(signed, remapped)
    return rule.kind == model.MATCH_REPO_DIGEST_OR_EXACT and whole and _digest_or_exact(signed, asked)


def _digest_or_exact(signed: Reference, asked: Reference) -> bool:
    """By digest any tag of the repository will do: the digest itself is compared elsewhere."""
    return signed.name == asked.name if asked.digest else signed.canonical == asked.canonical


def _remapped(rule: IdentityRule, asked: Reference) -> Reference | None:
    """The reference below `signedPrefix`; as it is where the prefix is not its own."""
    name = asked.name
    if name != rule.prefix and not name.startswith(rule.prefix + "/"):
        return asked
    text = rule.signed_prefix + asked.canonical[len(rule.prefix) :]
    try:
        return Reference.within(*_split(text))
    except OrlopError:
        return None


def _split(text: str) -> tuple[str, str]:
    registry, _, rest = text.partition("/")
    return registry, rest
