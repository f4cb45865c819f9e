"""All signatures of an image that are good, for somebody who asks (`orlop image verify`)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from orlop.image.policy import identity, model
from orlop.image.policy.model import IdentityRule
from orlop.image.reference import DEFAULT_TAG, Reference
from orlop.image.signature.gpg import Keyring
from orlop.image.signature.model import BadSignature, Signature, Simple, Verified
from orlop.image.signature.sigstore import Trust
from orlop.image.transport.source import RawManifest
from orlop.kit.errors import Denied, OrlopError

_REASONS = 5


def good(
    signatures: Iterable[Signature],
    manifests: Sequence[RawManifest],
    trust: Trust | Keyring,
    accepts: Callable[[Verified], bool],
    subject: str,
    passed: Sequence[str] = (),
) -> tuple[Verified, ...]:
    """At least one. `accepts` says whether name and annotations are right. Raises Denied with the reasons."""
    from orlop.image.signature import sigstore, simple

    found: list[Verified] = []
    reasons = list(passed)
    for signature in signatures:
        try:
            if isinstance(trust, Keyring):
                if not isinstance(signature, Simple):
                    continue
                verified = simple.verify(signature, manifests, trust)
            elif isinstance(signature, Simple):
                continue
            else:
                verified = sigstore.verify(signature, manifests, trust)
        except BadSignature as error:
            reasons.append(str(error))
            continue
        if accepts(verified):
            found.append(verified)
        else:
            reasons.append(f"it is good, but for {verified.reference!r} or with other annotations")
    if not found:
        told = "; ".join(list(dict.fromkeys(reasons))[:_REASONS]) or "there is none"
        raise Denied(subject, f"no signature is good: {told}", hint="see whether it is the right key")
    return tuple(found)


def accepting(
    asked: Reference | None, signed_as: str, annotations: Mapping[str, str]
) -> Callable[[Verified], bool]:
    """What `good` accepts: the image's own repository (and tag, where both have one) or `signed_as`, and all
    of `annotations`. cosign's signatures name the repository alone, bundles nothing.
    """

    def accepts(verified: Verified) -> bool:
        if any(verified.annotations.get(key) != value for key, value in annotations.items()):
            return False
        if signed_as:
            return _is_named(verified.reference, signed_as)
        if asked is None or not verified.reference:
            return True
        if not identity.matches(IdentityRule(model.MATCH_REPOSITORY), asked, verified.reference):
            return False
        claimed = Reference.parse(verified.reference)
        has_tag = claimed.tag and (
            claimed.tag != DEFAULT_TAG or verified.reference.endswith(f":{DEFAULT_TAG}")
        )
        return not has_tag or not asked.tag or bool(asked.digest) or claimed.tag == asked.tag

    return accepts


def _is_named(claimed: str, wanted: str) -> bool:
    """`wanted` may be a repository or a whole reference."""
    try:
        reference = Reference.parse(wanted)
    except OrlopError:
        return False
    whole = reference.digest is not None or wanted.endswith(f":{reference.tag}")
    if whole:
        return identity.matches(IdentityRule(model.EXACT_REFERENCE, reference.canonical), None, claimed)
    return identity.matches(IdentityRule(model.EXACT_REPOSITORY, reference.name), None, claimed)
