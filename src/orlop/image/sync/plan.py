"""What a sync is to copy: every image of its source, and the name that each gets at the destination."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterator
from dataclasses import dataclass, replace

from orlop.image.reference import Reference, split_registry
from orlop.image.sync import listed
from orlop.image.transport import locate
from orlop.image.transport.layout.files import failed
from orlop.image.transport.locate import Location
from orlop.image.transport.open import OpenOptions, credentials_for, endpoints
from orlop.image.transport.repository import Repository
from orlop.kit import limits
from orlop.kit.errors import Conflict, InvalidInput, LimitExceeded, NotFound

YAML = "yaml"
_ENDS = (locate.DOCKER, locate.DIR, locate.OCI)
_MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Found:
    """An image at the source. `name` is its whole name: REGISTRY/REPOSITORY:TAG, or a folder's path within
    the source; `exact`: it was named by its digest, so it is taken as it is, with all its platforms.
    """

    location: Location
    name: str
    options: OpenOptions
    exact: bool = False


@dataclass(frozen=True)
class Task:
    """One copy."""

    source: Found
    destination: Location


def images(source: str, options: OpenOptions) -> list[Found]:
    """Every image of `source`: yaml:FILE, docker://REPOSITORY[:TAG] (without a tag: all), dir:FOLDER (of
    folders), oci:LAYOUT. Sorted but for lists, which keep their order.

    Raises InvalidInput, NotFound (none), LimitExceeded, and what a registry's list of tags raises.
    """
    found: list[Found] = []
    for image in _images(source, options):
        found.append(image)
        if len(found) > limits.SYNC_IMAGES:
            raise LimitExceeded(source, f"has more than {limits.SYNC_IMAGES} images", hint="sync parts of it")
    if not found:
        raise NotFound(source, "no image to copy", hint="see the tags with: orlop image list-tags")
    return found


def tasks(found: list[Found], destination: str, *, scoped: bool, suffix: str) -> list[Task]:
    """Where each image goes: below `destination` by the last part of its name, or `scoped` by all of it.

    Raises InvalidInput, Conflict where two would get one name.
    """
    place = locate.parse(destination, default="")
    if place.transport not in _ENDS:
        raise InvalidInput(
            destination,
            "is not where many images go",
            hint="name docker://REGISTRY[/PATH], dir:FOLDER or oci:LAYOUT",
        )
    if place.transport == locate.OCI and place.reference:
        raise InvalidInput(destination, "names one image", hint="name the layout alone: oci:PATH")
    planned: dict[str, Task] = {}
    for image in found:
        task = Task(image, _target(place, image.name, scoped=scoped, suffix=suffix))
        other = planned.setdefault(str(task.destination), task)
        if other is not task and other.source.location != image.location:
            raise Conflict(
                str(task.destination),
                f"would be both {other.source.location} and {image.location}",
                hint="use --scoped, which keeps the whole names",
            )
    return list(planned.values())


def _images(source: str, options: OpenOptions) -> Iterator[Found]:
    if source.startswith(f"{YAML}:"):
        yield from _of_list(source.removeprefix(f"{YAML}:"), options)
        return
    location = locate.parse(source, default="")
    if location.transport == locate.DOCKER:
        yield from _of_repository(location.rest, options)
    elif location.transport == locate.DIR:
        yield from _of_folder(location.rest, options)
    elif location.transport == locate.OCI:
        yield from _of_layout(location, options)
    else:
        raise InvalidInput(
            source,
            "is not where many images come from",
            hint="name docker://REPOSITORY, dir:FOLDER, oci:LAYOUT or yaml:FILE",
        )


def _of_repository(name: str, options: OpenOptions) -> Iterator[Found]:
    last = split_registry(name)[1]
    if ":" in last or "@" in last:
        yield _at_registry(Reference.parse(name), options)
        return
    yield from _tagged(Reference.parse(name), lambda _: True, options)


def _of_list(path: str, options: OpenOptions) -> Iterator[Found]:
    for registry in listed.read(path):
        own = replace(
            options,
            credentials=registry.credentials or options.credentials,
            tls_verify=options.tls_verify if registry.tls_verify is None else registry.tls_verify,
            certificates=registry.certificates or options.certificates,
        )
        for wanted in registry.wanted:
            for name in wanted.names:
                separator = "@" if ":" in name else ":"
                yield _at_registry(
                    Reference.within(registry.name, f"{wanted.repository}{separator}{name}"), own
                )
            if wanted.chosen is not None:
                yield from _tagged(Reference.within(registry.name, wanted.repository), wanted.chosen, own)


def _tagged(reference: Reference, chosen: listed.Choice, options: OpenOptions) -> Iterator[Found]:
    repository = Repository(
        endpoints(reference, options)[-1],
        options.settings,
        options.cancellation,
        credentials_for(options),
    )
    try:
        tags = sorted(tag for tag in repository.tags() if chosen(tag))
    finally:
        repository.close()
    for tag in tags:
        yield _at_registry(Reference(reference.registry, reference.repository, tag), options)


def _at_registry(reference: Reference, options: OpenOptions) -> Found:
    if reference.digest is not None:
        reference = reference.by_digest(reference.digest)
    name = reference.canonical
    return Found(Location(locate.DOCKER, name), name, options, exact=reference.digest is not None)


def _of_folder(path: str, options: OpenOptions) -> Iterator[Found]:
    """Every folder below that holds an image; links are not followed."""
    if not os.path.isdir(path):
        raise NotFound(f"dir:{path}", "no such folder", hint="see whether the path is right")

    def refuse(error: OSError) -> None:
        raise failed(error.filename or path, error) from error

    for folder, below, names in os.walk(path, onerror=refuse):
        below.sort()
        if _MANIFEST in names:
            below.clear()
            inner = os.path.relpath(folder, path)
            name = os.path.basename(os.path.abspath(path)) if inner == "." else inner
            yield Found(Location(locate.DIR, folder), name, options, exact=_is_by_digest(name))


def _of_layout(location: Location, options: OpenOptions) -> Iterator[Found]:
    from orlop.image.transport.layout.entries import is_attachment_name
    from orlop.image.transport.oci import OciSource

    source = OciSource(location.path, "", options.cancellation)
    try:
        names = source.tags()
    finally:
        source.close()
    if location.reference:
        names = (location.reference,)
    for name in names:
        if not is_attachment_name(name):
            place = Location(locate.OCI, f"{location.path}:{name}")
            yield Found(place, name, options, exact=_is_by_digest(name))


def _is_by_digest(name: str) -> bool:
    """As a sync names what came by its digest: `app@sha256:...`."""
    return "@" in posixpath.basename(name)


def _target(place: Location, name: str, *, scoped: bool, suffix: str) -> Location:
    short = name if scoped else posixpath.basename(name)
    if place.transport == locate.DIR:
        return Location(locate.DIR, os.path.join(place.rest, short + suffix))
    if place.transport == locate.OCI:
        return Location(locate.OCI, f"{place.path}:{short}{suffix}")
    if scoped:  # a registry's port is no part of a repository's name
        first, slash, rest = short.partition("/")
        short = f"{first.replace(':', '_')}{slash}{rest}" if slash else short
    rest = f"{place.rest.rstrip('/')}/{short}"
    if "@" not in short:
        rest += suffix if ":" in posixpath.basename(short) else f":latest{suffix}"
    Reference.parse(rest)
    return Location(locate.DOCKER, rest)
