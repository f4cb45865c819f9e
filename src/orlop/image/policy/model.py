"""A policy as values: containers-policy.json(5), "POLICY REQUIREMENTS"."""

from __future__ import annotations

from collections.abc import Mapping

from orlop.kit.value import dataclass

# signedIdentity
MATCH_EXACT = "matchExact"
MATCH_REPO_DIGEST_OR_EXACT = "matchRepoDigestOrExact"
MATCH_REPOSITORY = "matchRepository"
EXACT_REFERENCE = "exactReference"
EXACT_REPOSITORY = "exactRepository"
REMAP = "remapIdentity"
MATCH_DIGEST = "matchDigest"  # ours: the signature need not name the image (sigstore bundles do not)


@dataclass(frozen=True)
class IdentityRule:
    """Which claimed name is good for which image. `value` is of exact*, the prefixes are of remapIdentity."""

    kind: str = MATCH_REPO_DIGEST_OR_EXACT
    value: str = ""
    prefix: str = ""
    signed_prefix: str = ""


@dataclass(frozen=True)
class Material:
    """Keys or certificates: files, and what stands in the policy itself."""

    paths: tuple[str, ...] = ()
    data: tuple[bytes, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.paths or self.data)


_NONE = Material()
_DEFAULT_RULE = IdentityRule()


@dataclass(frozen=True)
class AcceptAnything:
    """insecureAcceptAnything"""


@dataclass(frozen=True)
class Reject:
    """reject"""


@dataclass(frozen=True)
class SignedBy:
    """signedBy: a simple-signing signature by one of these OpenPGP keys."""

    keys: Material
    identity: IdentityRule = _DEFAULT_RULE


@dataclass(frozen=True)
class Fulcio:
    """A certificate of this authority for this e-mail address, as this issuer vouched for it."""

    ca: Material
    issuer: str
    email: str


@dataclass(frozen=True)
class Pki:
    """A certificate below these roots, for this e-mail address and host name where they are given."""

    roots: Material
    intermediates: Material = _NONE
    email: str = ""
    hostname: str = ""


@dataclass(frozen=True)
class SigstoreSigned:
    """sigstoreSigned: by one of the keys, or with a certificate; with `rekor` the log must vouch for it."""

    keys: Material = _NONE
    fulcio: Fulcio | None = None
    pki: Pki | None = None
    rekor: Material = _NONE
    identity: IdentityRule = _DEFAULT_RULE


Requirement = AcceptAnything | Reject | SignedBy | SigstoreSigned
Requirements = tuple[Requirement, ...]


@dataclass(frozen=True)
class Policy:
    """`transports`: transport -> scope -> what is required; `path` is the file, for messages."""

    path: str
    default: Requirements
    transports: Mapping[str, Mapping[str, Requirements]]

    @property
    def accepts_everything(self) -> bool:
        lists = [self.default, *(found for scopes in self.transports.values() for found in scopes.values())]
        return all(accepts_anything(found) for found in lists)


def accepts_anything(requirements: Requirements) -> bool:
    """Whether there is nothing to be looked at."""
    return all(isinstance(requirement, AcceptAnything) for requirement in requirements)
