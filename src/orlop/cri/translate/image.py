"""Images as the interface has them, and the credentials that it brings."""

from __future__ import annotations

import base64
import binascii
import fnmatch
import urllib.parse
from collections.abc import Iterable, Mapping, Sequence

from orlop.cri.proto import cri_pb2 as pb
from orlop.image.auth import Credentials
from orlop.image.reference import DEFAULT_REGISTRY, Reference
from orlop.kit.errors import InvalidInput, OrlopError
from orlop.store.model import StoredImage

_LONGEST_USER = 256  # characters told of a user's name, which an image's config may fill with megabytes
_DIGITS = 10  # of the largest uid; more cannot even be converted
_LARGEST_UID = (1 << 31) - 1  # beyond it a number overflows in the programs that read it (CVE-2024-40635)


def image(
    stored: StoredImage, user: str, annotations: Mapping[str, str], *, pinned: Sequence[str] = ()
) -> pb.Image:
    """`user` is the image config's, `annotations` the manifest's, `pinned` the patterns of the settings."""
    uid, username = owner(user)
    tags, digests = names(stored)
    return pb.Image(
        id=stored.id,
        repo_tags=tags,
        repo_digests=digests,
        size=stored.size or 1,  # the interface has no image of no size
        uid=None if uid is None else pb.Int64Value(value=uid),
        username=username,
        spec=pb.ImageSpec(image=stored.id, annotations=annotations),
        pinned=is_pinned(stored, pinned),
    )


def names(stored: StoredImage) -> tuple[list[str], list[str]]:
    """repo_tags, and repo_digests: each repository that the image has a name in, at each of its digests."""
    references = [Reference.parse(name) for name in stored.names]
    tags = [reference.canonical for reference in references if reference.digest is None]
    repositories = dict.fromkeys(reference.name for reference in references)
    digests = dict.fromkeys(
        f"{repository}@{digest}" for repository in repositories for digest in _ordered(stored)
    )
    own = (reference for reference in references if reference.digest is not None)
    digests.update(dict.fromkeys(f"{reference.name}@{reference.digest}" for reference in own))
    return tags, list(digests)


def _ordered(stored: StoredImage) -> list[str]:
    """The digest that it was pulled by last, then the others (other packings, indexes above it)."""
    return list(dict.fromkeys((stored.digest, *stored.digests)))


def owner(user: str) -> tuple[int | None, str]:
    """(uid, "") or (None, user name) for the user of an image's config; the group does not count.

    Nobody is root: uid 0. A number too large for a uid is taken for a name, which no image will have.
    """
    text = user.partition(":")[0]
    if not text:
        return 0, ""
    if text.isascii() and text.isdigit() and len(text) <= _DIGITS and int(text) <= _LARGEST_UID:
        return int(text), ""
    return None, text[:_LONGEST_USER]


def is_pinned(stored: StoredImage, patterns: Iterable[str]) -> bool:
    """Whether a pattern is one of the image's names, in whole or with `*`, or its ID."""
    known = [*stored.names, stored.id, stored.id.partition(":")[2]]
    known += [Reference.parse(name).familiar for name in stored.names]
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns for name in known)


def credentials(auth: pb.AuthConfig, reference: str) -> Credentials | None:
    """What a pull of `reference` may say of itself; None: it asks without.

    Credentials that are for another server (`server_address`) are left out. Raises InvalidInput where `auth`
    is not the base64 of user:password.
    """
    if not _is_for(auth.server_address, reference):
        return None
    if auth.username:
        return Credentials(auth.username, auth.password)
    if auth.identity_token:
        return Credentials("", "", identity_token=auth.identity_token)
    if auth.registry_token:
        return Credentials("", "", registry_token=auth.registry_token)
    if not auth.auth:
        return None
    try:
        user, colon, password = base64.b64decode(auth.auth, validate=True).decode().partition(":")
    except (ValueError, binascii.Error):
        colon = ""
    if not colon:
        raise InvalidInput(
            f"credentials for {reference}",
            "`auth` is not the base64 of user:password",
            hint="correct the image pull secret",
        )
    return Credentials(user, password.strip("\0"))


def _is_for(server: str, reference: str) -> bool:
    if not server:
        return True
    host = urllib.parse.urlsplit(server if "://" in server else f"//{server}").netloc.rpartition("@")[2]
    try:
        registry = Reference.parse(reference).registry
    except OrlopError:  # the pull will say what is wrong with it
        return False
    if registry == DEFAULT_REGISTRY:
        return host in (DEFAULT_REGISTRY, "index.docker.io", "registry-1.docker.io")
    return host == registry
