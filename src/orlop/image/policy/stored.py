"""Judging an image that is in a store, from what is kept with it: no network.

What the store's rows say is believed of nothing that can be computed: the manifest, the configuration and the
layers must belong together by their digests, whatever was written there.
"""

from __future__ import annotations

from collections.abc import Sequence

from orlop.image import manifest as manifests_module
from orlop.image.config import ImageConfig
from orlop.image.digest import Digest, chain_ids
from orlop.image.manifest import Index, Manifest
from orlop.image.policy import scopes
from orlop.image.policy.errors import PolicyRefused
from orlop.image.policy.judge import judge
from orlop.image.policy.model import Policy, accepts_anything
from orlop.image.policy.scopes import Asked
from orlop.image.reference import Reference, is_short
from orlop.image.signature import model
from orlop.image.sink import Document
from orlop.image.transport.source import RawManifest
from orlop.kit.errors import OrlopError
from orlop.kit.value import dataclass

_LOCAL = "localhost"
_DIGITS = 4  # of an ID, at least
_KINDS = (model.MANIFEST, model.INDEX)


@dataclass(frozen=True)
class Kept:
    """An image as a store has it. `layers` are chain IDs."""

    id: str
    manifest: bytes
    config: bytes
    layers: tuple[str, ...]
    names: tuple[str, ...]
    documents: tuple[Document, ...]


def admit(policy: Policy, kept: Kept, asked: str) -> None:
    """Whether the image may be used as `asked`, which is how a user or a kubelet names it.

    A name must be good itself. An ID or a digest is good where one of the names is that the image has, or was
    pulled as. Raises PolicyRefused, InvalidInput.
    """
    names, every = _names(kept, asked)
    refused: PolicyRefused | None = None
    for one in [_asked(policy, name) for name in names] or [scopes.nameless(f"image {kept.id}")]:
        try:
            judge_as(policy, kept, one)
        except PolicyRefused as error:
            refused = refused or error
            continue
        if not every:
            return
    if refused is not None:
        refused.hint = "pull it again if it is signed, or change policy.json"
        raise refused


def _names(kept: Kept, asked: str) -> tuple[list[Reference], bool]:
    """The names that are meant, and whether all of them must be good or one."""
    for text in (asked, f"{_LOCAL}/{asked}"):
        reference = _parsed_name(text)
        if reference is not None and reference.canonical in kept.names:
            return [reference], True
    digits = asked.removeprefix("sha256:")
    if len(digits) >= _DIGITS and kept.id.partition(":")[2].startswith(digits):
        return _all_names(kept), False
    reference = _parsed_name(asked)
    if reference is None:  # sha256:..., of a manifest
        return _all_names(kept), False
    if not is_short(asked):
        return [reference], True
    names = [name for name in map(_parsed_name, kept.names) if name is not None]
    end = "/" + reference.canonical.rpartition("/")[2]
    return [name for name in names if name.canonical.endswith(end)] or names or [reference], True


def _all_names(kept: Kept) -> list[Reference]:
    texts = list(kept.names)
    for document in kept.documents:
        transport, _, text = document.data.decode(errors="replace").partition(":")
        if document.kind == model.REFERENCE and transport == "docker":
            texts.append(text)
    return [name for name in map(_parsed_name, dict.fromkeys(texts)) if name is not None]


def _parsed_name(text: str) -> Reference | None:
    try:
        return Reference.parse(text)
    except OrlopError:
        return None


def _asked(policy: Policy, reference: Reference) -> Asked:
    """localhost/... was built, imported or loaded here: the policy may speak of it as of the store's own."""
    if reference.registry == _LOCAL and scopes.knows(policy, "store"):
        return scopes.store(reference)
    return scopes.docker(reference)


def judge_as(policy: Policy, kept: Kept, asked: Asked) -> None:
    """Whether the image is good as `asked`, exactly. Raises PolicyRefused, InvalidInput."""
    requirements, place = scopes.requirements(policy, asked)
    if accepts_anything(requirements):
        return
    where = f"{policy.path}: {place}"
    chain, signatures, passed = _evidence(kept, asked)
    judge(requirements, where, asked, chain, signatures, passed)


def _evidence(kept: Kept, asked: Asked) -> tuple[list[RawManifest], list[model.Signature], list[str]]:
    chain = _chain(kept, asked)
    signatures, passed = [], []
    for document in kept.documents:
        try:
            signature = model.of_document(document)
        except model.BadSignature as error:
            passed.append(str(error))
            continue
        if signature is not None:
            signatures.append(signature)
    return chain, signatures, passed


def _chain(kept: Kept, asked: Asked) -> list[RawManifest]:
    """The manifests whose signature is one of this very image: its own, and indexes that lead to them.

    Raises PolicyRefused where the rows contradict each other.
    """
    if Digest.of(kept.config, kept.id.partition(":")[0]) != kept.id:
        raise _tampered(asked, "its configuration is not what its ID says")
    try:
        config = ImageConfig.from_json(kept.config)
    except OrlopError as error:
        raise _tampered(asked, str(error)) from error
    if chain_ids(config.diff_ids) != tuple(kept.layers):
        raise _tampered(asked, "its layers are not those of its configuration")
    found = [raw for raw in _candidates(kept) if _is_of(raw, kept)]
    trusted = {raw.digest for raw in found}
    above = list(_candidates(kept))
    grown = True
    while grown:
        grown = False
        for raw in above:
            if raw.digest not in trusted and _leads_to(raw, trusted):
                trusted.add(raw.digest)
                found.append(raw)
                grown = True
    return found


def _candidates(kept: Kept) -> Sequence[RawManifest]:
    """Digests computed here, by the algorithm that the row names."""
    found = [RawManifest(kept.manifest, "", Digest.of(kept.manifest))]
    for document in kept.documents:
        if document.kind in _KINDS:
            digest = Digest.of(document.data, document.digest.algorithm)
            found.append(RawManifest(document.data, document.media_type, digest))
    return found


def _is_of(raw: RawManifest, kept: Kept) -> bool:
    parsed = _parsed(raw)
    return isinstance(parsed, Manifest) and parsed.config.digest == kept.id


def _leads_to(raw: RawManifest, digests: set[Digest]) -> bool:
    parsed = _parsed(raw)
    return isinstance(parsed, Index) and any(entry.digest in digests for entry in parsed.manifests)


def _parsed(raw: RawManifest) -> Manifest | Index | None:
    try:
        return manifests_module.parse(raw.data, raw.media_type)
    except OrlopError:
        return None


def _tampered(asked: Asked, cause: str) -> PolicyRefused:
    return PolicyRefused(
        asked.text,
        f"{cause}: the store was changed by hand",
        hint="orlop store check --repair; pull it again",
    )
