"""Whether requirements hold for manifests and their signatures. Each that fails says why."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Sequence

from orlop.image.policy import identity
from orlop.image.policy.errors import PolicyRefused
from orlop.image.policy.model import (
    AcceptAnything,
    IdentityRule,
    Material,
    Reject,
    Requirements,
    SignedBy,
    SigstoreSigned,
)
from orlop.image.policy.scopes import Asked
from orlop.image.signature.model import Attached, BadSignature, Bundle, Signature, Simple, Verified
from orlop.image.transport.source import RawManifest
from orlop.kit import limits
from orlop.kit.errors import InvalidInput
from orlop.kit.files import read_bounded

_REASONS = 5  # that are told of one image


def judge(
    requirements: Requirements,
    where: str,
    asked: Asked,
    manifests: Sequence[RawManifest],
    signatures: Sequence[Signature],
    passed: Sequence[str] = (),
) -> tuple[Verified, ...]:
    """What was verified, one for each requirement that wants a signature.

    `manifests`: the image's own and the indexes that lead to it, whose digests are what may be signed.
    `passed` are reasons from before. Raises PolicyRefused, and InvalidInput where a key cannot be read.
    """
    found = []
    for requirement in requirements:
        if isinstance(requirement, AcceptAnything):
            continue
        if isinstance(requirement, Reject):
            raise rejected(where, asked)
        if isinstance(requirement, SignedBy):
            found.append(_signed_by(requirement, where, asked, manifests, signatures, passed))
        else:
            found.append(_sigstore_signed(requirement, where, asked, manifests, signatures, passed))
    return tuple(found)


def rejected(where: str, asked: Asked) -> PolicyRefused:
    return PolicyRefused(
        asked.text, f"the policy rejects it ({where})", hint="choose another image, or change policy.json"
    )


def _signed_by(
    requirement: SignedBy,
    where: str,
    asked: Asked,
    manifests: Sequence[RawManifest],
    signatures: Sequence[Signature],
    passed: Sequence[str],
) -> Verified:
    from orlop.image.signature import simple
    from orlop.image.signature.gpg import Keyring

    candidates = [signature for signature in signatures if isinstance(signature, Simple)]
    with contextlib.ExitStack() as stack:
        ring: Keyring | None = None

        def verify(signature: Simple) -> Verified:
            nonlocal ring
            if ring is None:
                ring = stack.enter_context(Keyring(_contents(requirement.keys), where))
            return simple.verify(signature, manifests, ring)

        return _first(candidates, verify, requirement.identity, where, asked, passed, "a GPG signature")


def _sigstore_signed(
    requirement: SigstoreSigned,
    where: str,
    asked: Asked,
    manifests: Sequence[RawManifest],
    signatures: Sequence[Signature],
    passed: Sequence[str],
) -> Verified:
    from orlop.image.policy.trust import trust_of
    from orlop.image.signature import sigstore

    candidates = [signature for signature in signatures if isinstance(signature, Attached | Bundle)]
    trust = trust_of(requirement, where)

    def verify(signature: Attached | Bundle) -> Verified:
        return sigstore.verify(signature, manifests, trust)

    return _first(candidates, verify, requirement.identity, where, asked, passed, "a sigstore signature")


def _first(
    candidates: Iterable[Simple | Attached | Bundle],
    verify: Callable[..., Verified],
    rule: IdentityRule,
    where: str,
    asked: Asked,
    passed: Sequence[str],
    what: str,
) -> Verified:
    reasons = list(passed)
    for candidate in candidates:
        try:
            verified = verify(candidate)
        except BadSignature as error:
            reasons.append(str(error))
            continue
        if identity.matches(rule, asked.reference, verified.reference):
            return verified
        if verified.reference:
            reasons.append(f"it is for {verified.reference!r}, not good for this image by {rule.kind}")
        else:
            reasons.append(f"it names no image (bundles do not), and {rule.kind} wants a name")
    distinct = list(dict.fromkeys(reasons))
    told = "; ".join(distinct[:_REASONS]) if distinct else "there is none"
    raise PolicyRefused(
        asked.text,
        f"the policy wants {what} ({where}): {told}",
        hint="have the image signed, choose another one, or change policy.json",
    )


def _contents(material: Material) -> list[bytes]:
    return [*(contents(path) for path in material.paths), *material.data]


def contents(path: str) -> bytes:
    """A file that the policy names. Raises InvalidInput: what cannot be read allows nothing."""
    try:
        return read_bounded(path, limits.CONFIG_FILE_SIZE)
    except OSError as error:
        raise InvalidInput(
            path, f"cannot be read: {error.strerror or error}", hint="correct the path in policy.json"
        ) from error
