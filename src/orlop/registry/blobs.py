"""end-2, end-10: blobs of a repository."""

from __future__ import annotations

import contextlib
import io
import os
from http import HTTPStatus

from orlop.image.digest import Digest
from orlop.kit.tasks import in_thread
from orlop.registry.context import Context
from orlop.registry.errors import Headers, Refused
from orlop.registry.http import FileBody, Request, Response
from orlop.registry.names import Route, digest
from orlop.registry.ranges import wanted
from orlop.store.errors import BlobUnknown

#: Content of a digest never changes. It may be removed, and who may read it is asked each time.
FOREVER = ("Cache-Control", "private, max-age=31536000, immutable")


async def get(context: Context, request: Request, route: Route) -> Response:
    """end-2: 200, 206, 304, 404, 416."""
    name = digest(route.item)
    if request.method == "HEAD":
        size = await in_thread(context.repositories.blob, route.repository, name)
        if size is None:
            raise unknown(name)
        return _answer(request, name, size, None)
    found = await in_thread(_opened, context, route.repository, name)
    try:
        response = _answer(request, name, found.size, found)
    except BaseException:
        found.file.close()
        raise
    if not isinstance(response.body, FileBody):
        found.file.close()
    return response


def _answer(request: Request, name: Digest, size: int, found: FileBody | None) -> Response:
    tag = f'"{name}"'
    headers: Headers = (
        ("Docker-Content-Digest", str(name)),
        ("ETag", tag),
        FOREVER,
        ("Accept-Ranges", "bytes"),
    )
    if named(request.header("if-none-match"), tag):
        return Response(HTTPStatus.NOT_MODIFIED, headers)
    headers += (("Content-Type", "application/octet-stream"),)
    if found is None:
        return Response(HTTPStatus.OK, headers, size=size)
    part = None
    if request.header("if-range") in ("", tag):
        part = wanted(request.header("range"), size)
    if part is None:
        return Response(HTTPStatus.OK, headers, found)
    headers += (("Content-Range", f"bytes {part.offset}-{part.offset + part.size - 1}/{size}"),)
    body = FileBody(found.file, found.offset + part.offset, part.size)
    return Response(HTTPStatus.PARTIAL_CONTENT, headers, body)


async def delete(context: Context, request: Request, route: Route) -> Response:
    """end-10: 202, 404."""
    name = digest(route.item)
    if not await in_thread(context.repositories.remove_blob, route.repository, name):
        raise unknown(name)
    return Response(HTTPStatus.ACCEPTED)


def unknown(name: Digest) -> Refused:
    return Refused("BLOB_UNKNOWN", "no such blob in this repository", details=({"digest": name},))


def named(header: str, tag: str) -> bool:
    """Whether an If-None-Match or If-Match names the entity tag (compared weakly: digests are strong)."""
    return any(given.strip().removeprefix("W/") in (tag, "*") for given in header.split(",") if given.strip())


def _opened(context: Context, repository: str, name: Digest) -> FileBody:
    """The blob's file; it stays readable whatever is removed meanwhile. Raises Refused (BLOB_UNKNOWN)."""
    if context.repositories.blob(repository, name) is None:
        raise unknown(name)
    try:
        with context.store.open_blob(name) as blob:
            file = os.dup(blob.fileno())
            try:
                return FileBody(io.FileIO(file, "rb"), blob.offset, blob.size)
            except BaseException:
                with contextlib.suppress(OSError):
                    os.close(file)
                raise
    except BlobUnknown as error:
        raise unknown(name) from error
