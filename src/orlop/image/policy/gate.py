"""The gate that every image passes on its way in: pull, load and copy ask it, before anything is named."""

from __future__ import annotations

from collections.abc import Sequence

from orlop.image.digest import Digest
from orlop.image.policy import scopes
from orlop.image.policy.judge import judge, rejected
from orlop.image.policy.load import load
from orlop.image.policy.model import Reject, Requirements, SignedBy, SigstoreSigned, accepts_anything
from orlop.image.policy.scopes import Asked
from orlop.image.reference import Reference
from orlop.image.signature.collect import Collector, Wanted
from orlop.image.signature.model import MANIFEST, REFERENCE, Signature, Verified, document
from orlop.image.sink import Document
from orlop.image.transport import locate
from orlop.image.transport.locate import Location
from orlop.image.transport.source import RawManifest, Source
from orlop.kit.errors import OrlopError


class Gate:
    """What a policy requires of one image. One use for one source; manifests are asked about once each."""

    def __init__(self, asked: Asked, requirements: Requirements, where: str) -> None:
        self._asked = asked
        self._requirements = requirements
        self._where = where
        self._wanted = Wanted(
            simple=any(isinstance(one, SignedBy) for one in requirements),
            sigstore=any(isinstance(one, SigstoreSigned) for one in requirements),
        )
        self._collector: Collector | None = None
        self._known: dict[Digest, tuple[Signature, ...]] = {}

    def admit(self, source: Source, chain: Sequence[RawManifest]) -> tuple[Document, ...]:
        """What is to be kept with the image, so that it can be judged again without a network.

        `chain` leads from what the name names to the image's manifest: a signature of one of them is enough.
        Raises PolicyRefused, InvalidInput (a key that cannot be read), LimitExceeded, and what the source
        raises.
        """
        self.verify(source, chain)
        return self._kept(chain, [one for raw in chain for one in self._known[raw.digest]])

    def verify(self, source: Source, chain: Sequence[RawManifest]) -> tuple[Verified, ...]:
        """What was verified, one for each requirement that wants a signature. Raises as `admit`."""
        if self._collector is None:
            name = self._asked.reference if self._asked.transport == locate.DOCKER else None
            self._collector = Collector(source, name, self._wanted)
        signatures: list[Signature] = []
        for raw in chain:
            if raw.digest not in self._known:
                self._known[raw.digest] = self._collector.of(raw.digest)
            signatures += self._known[raw.digest]
        passed = self._collector.passed
        return judge(self._requirements, self._where, self._asked, chain, signatures, passed)

    def _kept(self, chain: Sequence[RawManifest], signatures: list[Signature]) -> tuple[Document, ...]:
        found = [Document(MANIFEST, raw.media_type, raw.digest, raw.data) for raw in chain]
        found += map(document, signatures)
        if self._asked.reference is not None:
            name = f"{self._asked.transport}:{self._asked.reference}".encode()
            found.append(Document(REFERENCE, "text/plain", Digest.of(name), name))
        return tuple(found)


def gate(asked: Asked, policy_file: str = "") -> Gate | None:
    """None where nothing is required of the image. Blocks: reads the policy.

    `policy_file` is one that somebody chose, "" for the usual places. Raises PolicyRefused where the image is
    rejected whatever it is, InvalidInput where the policy cannot be read.
    """
    policy = load(policy_file)
    if policy is None:
        return None
    requirements, place = scopes.requirements(policy, asked)
    where = f"{policy.path}: {place}"
    if any(isinstance(one, Reject) for one in requirements):
        raise rejected(where, asked)
    return None if accepts_anything(requirements) else Gate(asked, requirements, where)


def docker_gate(reference: Reference, policy_file: str = "") -> Gate | None:
    """Of an image that a registry is asked for, by the name that was asked for. See `gate`."""
    return gate(scopes.docker(reference), policy_file)


def location_gate(location: Location, policy_file: str = "") -> Gate | None:
    """Of what a copy or a load reads. See `gate`."""
    return gate(asked_of(location), policy_file)


def asked_of(location: Location) -> Asked:
    """A location in the words of a policy. Raises InvalidInput for a malformed name."""
    if location.transport == locate.DOCKER:
        return scopes.docker(Reference.parse(location.rest))
    if location.transport in (locate.STORE, locate.CONTAINERS_STORAGE):
        try:
            return scopes.store(Reference.parse(location.reference))
        except OrlopError:
            return scopes.nameless(str(location))
    if location.transport == locate.DOCKER_ARCHIVE:
        try:
            reference = Reference.parse(location.reference)
        except OrlopError:
            reference = None
        return Asked(location.transport, str(location), ("",), reference)
    return scopes.path(location.transport, location.path, location.reference)
