"""Which image a request means: as a pull of that name would read it, so that the kubelet never takes one
registry's image for another's. The command line is more generous."""

from __future__ import annotations

import functools
from collections.abc import Mapping

from orlop.cri.proto import cri_pb2 as pb
from orlop.cri.translate import image as translate
from orlop.image import documents
from orlop.image.reference import Reference, is_short
from orlop.image.registries.load import load
from orlop.image.registries.shortnames import candidates
from orlop.kit import limits
from orlop.kit.errors import Corrupt, InvalidInput, NotFound, OrlopError
from orlop.store.model import StoredImage
from orlop.store.store import Store

_HEX = frozenset("0123456789abcdef")


def find(store: Store, name: str) -> StoredImage | None:
    """The image of this name, ID (or a unique beginning of one) or repository@digest; None: there is none.

    Raises InvalidInput where nothing was asked for, or a beginning fits several.
    """
    if not name:
        raise InvalidInput("image", "no name was given", hint="name an image or give its ID")
    try:
        by_name = _by_name(store, name)
        if by_name is not None:
            return by_name
        if "@" in name:
            return store.image(name.rpartition("@")[2])
        digits = name.removeprefix("sha256:")
        if not digits or not _HEX.issuperset(digits):
            return None
        found = store.image(name)
    except NotFound:
        return None
    is_meant = found.id.partition(":")[2].startswith(digits) or name in (found.digest, *found.digests)
    return found if is_meant else None


def whole_name(name: str) -> str:
    """The name as it is recorded, for what was given without a registry or a tag; `name` where it is none."""
    meant = _meant(name)
    return meant[0].canonical if len(meant) == 1 else name


def described(store: Store, stored: StoredImage, pinned: tuple[str, ...]) -> pb.Image:
    """As ListImages and ImageStatus tell of it. Raises NotFound where it has gone meanwhile.

    Annotations that are none, or longer than limits.CRI_IMAGE_ANNOTATIONS, are left out: no image may make
    the list of all images fail, or too long for one message.
    """
    user, annotations = _documents(store, stored.id, stored.digest)
    return translate.image(stored, user, annotations, pinned=pinned)


@functools.lru_cache(maxsize=1024)
def _documents(store: Store, image_id: str, digest: str) -> tuple[str, dict[str, str]]:
    """The config's user and the manifest's annotations: what has a digest never changes."""
    user = store.image_config(image_id).user
    subject = f"manifest {digest}"
    try:
        manifest = documents.read_object(store.manifest_bytes(image_id), subject)
        annotations = documents.text_mapping(manifest, "annotations", subject)
    except Corrupt:
        return user, {}
    size = sum(
        len(key.encode(errors="replace")) + len(value.encode(errors="replace"))
        for key, value in annotations.items()
    )
    return user, annotations if size <= limits.CRI_IMAGE_ANNOTATIONS and _are_text(annotations) else {}


def _are_text(annotations: Mapping[str, str]) -> bool:
    """JSON can hold halves of surrogate pairs, which no message can."""
    try:
        "".join((*annotations.keys(), *annotations.values())).encode()
    except UnicodeEncodeError:
        return False
    return True


def _by_name(store: Store, name: str) -> StoredImage | None:
    for reference in _meant(name):
        named = store.named(reference.canonical)
        if named is not None:
            return store.image(named[0])
    return None


def _meant(name: str) -> list[Reference]:
    try:
        return candidates(name, load()) if is_short(name) else [Reference.parse(name)]
    except OrlopError:  # an ID, or a name that no pull would take
        return []
