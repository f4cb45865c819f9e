"""end-3, end-7, end-9: manifests and tags of a repository."""

from __future__ import annotations

from http import HTTPStatus

from orlop.image.digest import Digest
from orlop.image.manifest import Index, Manifest, parse
from orlop.kit import limits
from orlop.kit.errors import LimitExceeded, OrlopError
from orlop.kit.tasks import in_thread
from orlop.registry.blobs import FOREVER, named
from orlop.registry.context import Context
from orlop.registry.errors import Headers, Refused
from orlop.registry.http import Request, Response, too_large
from orlop.registry.names import Route, digest, is_tag
from orlop.store.repositories import Condition, HeldManifest, MissingReferences, TagMoved

_NAMED = 100  # missing blobs that an answer names


async def get(context: Context, request: Request, route: Route) -> Response:
    """end-3: 200, 304, 404. There is one form of each manifest, so an Accept header changes nothing."""
    reference = _reference(route.item)
    head = request.method == "HEAD"
    found = None
    if reference is not None:
        found = await in_thread(context.repositories.manifest, route.repository, reference, head=head)
    if found is None:
        raise await _unknown(context, route)
    tag = f'"{found.digest}"'
    fresh = FOREVER if isinstance(reference, Digest) else ("Cache-Control", "no-cache")
    headers: Headers = (("Docker-Content-Digest", found.digest), ("ETag", tag), fresh)
    if named(request.header("if-none-match"), tag):
        return Response(HTTPStatus.NOT_MODIFIED, headers)
    headers += (("Content-Type", found.media_type),)
    return Response(HTTPStatus.OK, headers, found.data, size=found.size)


async def put(context: Context, request: Request, route: Route) -> Response:
    """end-7a, end-7b: 201, 400, 404 (it names what is not there), 412, 413, 414."""
    reference = _reference(route.item)
    if reference is None:
        raise Refused("MANIFEST_INVALID", "not a tag", details=({"tag": route.item[:200]},))
    tags = _tags(reference, route)
    condition = _condition(request)
    data = await request.body.all(limits.MANIFEST_SIZE)
    manifest = await in_thread(_read, data, request.header("content-type"), reference)
    try:
        await in_thread(
            context.repositories.put_manifest,
            *(route.repository, manifest, tags),
            sparse=context.settings.sparse,
            condition=condition,
        )
    except MissingReferences as error:
        details = tuple({"digest": missing} for missing in error.digests[:_NAMED])
        raise Refused("MANIFEST_BLOB_UNKNOWN", "not in this repository", details=details) from error
    except TagMoved as error:
        raise Refused("DENIED", error.cause, status=HTTPStatus.PRECONDITION_FAILED) from error
    headers: Headers = (
        ("Location", f"/v2/{route.repository}/manifests/{manifest.digest}"),
        ("Docker-Content-Digest", manifest.digest),
    )
    if manifest.subject:
        headers += (("OCI-Subject", manifest.subject),)
    if isinstance(reference, Digest):
        headers += tuple(("OCI-Tag", tag) for tag in tags)
    return Response(HTTPStatus.CREATED, headers)


async def delete(context: Context, request: Request, route: Route) -> Response:
    """end-9: 202, 404. By digest with its tags; by tag the tag alone."""
    reference = _reference(route.item)
    known = False
    if isinstance(reference, Digest):
        known = await in_thread(context.repositories.remove_manifest, route.repository, reference)
    elif reference is not None:
        known = await in_thread(context.repositories.remove_tag, route.repository, reference)
    if not known:
        raise await _unknown(context, route)
    return Response(HTTPStatus.ACCEPTED)


def _reference(text: str) -> Digest | str | None:
    """A digest or a tag; None for what can be neither. Raises Refused (DIGEST_INVALID)."""
    if ":" in text:
        return digest(text)
    return text if is_tag(text) else None


def _tags(reference: Digest | str, route: Route) -> list[str]:
    if not isinstance(reference, Digest):
        return [reference]
    tags = list(dict.fromkeys(route.query.get("tag", ())))
    if len(tags) > limits.REGISTRY_TAGS:
        status = HTTPStatus.REQUEST_URI_TOO_LONG
        raise Refused("UNSUPPORTED", f"more than {limits.REGISTRY_TAGS} tags", status=status)
    wrong = [tag for tag in tags if not is_tag(tag)]
    if wrong:
        raise Refused("MANIFEST_INVALID", "not a tag", details=({"tag": wrong[0][:200]},))
    return tags


def _condition(request: Request) -> Condition | None:
    """RFC 9110, 13.1.1 and 13.1.2, for whoever changes what a tag holds."""
    given = request.header("if-match")
    if given:
        digests = (part.strip().removeprefix("W/").strip('"') for part in given.split(","))
        return Condition(match=tuple(digests))
    if request.header("if-none-match").strip() == "*":
        return Condition(absent=True)
    return None


def _read(data: bytes, served: str, reference: Digest | str) -> HeldManifest:
    """What is to be recorded of it. Raises Refused (DIGEST_INVALID, MANIFEST_INVALID, 413)."""
    algorithm = reference.algorithm if isinstance(reference, Digest) else "sha256"
    found = Digest.of(data, algorithm)
    if isinstance(reference, Digest) and found != reference:
        details = ({"digest": reference, "computed": found},)
        raise Refused("DIGEST_INVALID", "is not the digest of what was sent", details=details)
    try:
        manifest = parse(data, served)
    except LimitExceeded as error:
        raise too_large(limits.MANIFEST_SIZE) from error
    except OrlopError as error:
        raise Refused("MANIFEST_INVALID", error.cause, details=(error.subject,)) from error
    blobs, entries = _names(manifest)
    return HeldManifest(
        digest=found,
        media_type=manifest.media_type,
        artifact_type=artifact_type(manifest),
        subject=manifest.subject.digest if manifest.subject is not None else "",
        size=len(data),
        data=data,
        blobs=blobs,
        entries=entries,
    )


def artifact_type(manifest: Manifest | Index) -> str:
    """As referrers are told it ("Listing Referrers"): an image without one has its config's media type."""
    if manifest.artifact_type or isinstance(manifest, Index):
        return manifest.artifact_type
    return manifest.config.media_type


def _names(manifest: Manifest | Index) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Blobs that must be there, and entries of an index. Foreign layers lie elsewhere."""
    if isinstance(manifest, Index):
        return (), tuple(entry.digest for entry in manifest.manifests)
    layers = [
        layer.digest
        for layer in manifest.layers
        if "nondistributable" not in layer.media_type and ".foreign." not in layer.media_type
    ]
    return (manifest.config.digest, *layers), ()


async def _unknown(context: Context, route: Route) -> Refused:
    if not await in_thread(context.repositories.exists, route.repository):
        return Refused("NAME_UNKNOWN", "no such repository", details=({"name": route.repository},))
    return Refused("MANIFEST_UNKNOWN", "no such manifest", details=({"reference": route.item[:200]},))
