"""end-4 to end-6, end-11, end-13, end-14: blobs that come."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus

from orlop.image.digest import Digest
from orlop.kit import limits
from orlop.kit.tasks import in_thread
from orlop.registry.context import Context
from orlop.registry.errors import Headers, Refused
from orlop.registry.http import Request, Response, too_large
from orlop.registry.names import Route, digest, is_repository, is_upload
from orlop.registry.ranges import chunk
from orlop.registry.upload_files import Upload, no_room, unknown

_ALGORITHMS = ("sha256", "sha512")


async def start(context: Context, request: Request, route: Route) -> Response:
    """end-4a, end-4b, end-4c, end-11: 201, 202, 400."""
    mount, whole = route.value("mount"), route.value("digest")
    if mount is not None:
        name = digest(mount)
        if await in_thread(_mount, context, request, route, name):
            return _created(route.repository, name)
    if whole is not None:
        return await _at_once(context, request, route, digest(whole))
    algorithm = route.value("digest-algorithm") or "sha256"
    if algorithm not in _ALGORITHMS:
        raise Refused("DIGEST_INVALID", f"known algorithms: {', '.join(_ALGORITHMS)}")
    identity = await in_thread(context.uploads.start, route.repository, algorithm)
    return Response(HTTPStatus.ACCEPTED, _where(route.repository, identity, 0))


async def _at_once(context: Context, request: Request, route: Route, name: Digest) -> Response:
    identity = await in_thread(context.uploads.start, route.repository, name.algorithm)
    upload = await in_thread(context.uploads.hold, route.repository, identity)
    async with _held(context, upload) as held:
        await _receive(request, held, None)
        await held.finish(route.repository, name)
    return _created(route.repository, name)


async def append(context: Context, request: Request, route: Route) -> Response:
    """end-5: 202, 404, 416. What came before a connection broke stays: the client asks how much it was."""
    identity = _identity(route)
    upload = await in_thread(context.uploads.hold, route.repository, identity)
    async with _held(context, upload, keep=True) as held:
        await _receive(request, held, _Chunk(request, route, identity, upload))
        size = upload.size
    return Response(HTTPStatus.ACCEPTED, _where(route.repository, identity, size))


async def finish(context: Context, request: Request, route: Route) -> Response:
    """end-6: 201, 400, 404, 416."""
    identity = _identity(route)
    given = route.value("digest")
    if given is None:
        raise Refused("DIGEST_INVALID", "the parameter `digest` is missing")
    name = digest(given)
    upload = await in_thread(context.uploads.hold, route.repository, identity)
    upload.hash_with(name.algorithm)
    async with _held(context, upload, keep=True) as held:
        await _receive(request, held, _Chunk(request, route, identity, upload))
        await held.finish(route.repository, name)
    return _created(route.repository, name)


async def status(context: Context, request: Request, route: Route) -> Response:
    """end-13: 204, 404."""
    identity = _identity(route)
    size = await in_thread(context.uploads.size, route.repository, identity)
    return Response(HTTPStatus.NO_CONTENT, _where(route.repository, identity, size))


async def cancel(context: Context, request: Request, route: Route) -> Response:
    """end-14: 204, 404."""
    await in_thread(context.uploads.cancel, route.repository, _identity(route))
    return Response(HTTPStatus.NO_CONTENT)


class _Chunk:
    """What a request says that it brings: where it begins and how much it is."""

    def __init__(self, request: Request, route: Route, identity: str, upload: Upload) -> None:
        self.part = chunk(request.header("content-range"))
        length = request.body.length
        if self.part is None:
            return
        if self.part.offset != upload.size:
            raise Refused(
                *("BLOB_UPLOAD_INVALID", f"the next byte is {upload.size}"),
                status=HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
                headers=_where(route.repository, identity, upload.size),
            )
        if length is not None and length != self.part.size:
            raise Refused("SIZE_INVALID", f"Content-Range has {self.part.size} bytes, the body {length}")


class _held:  # noqa: N801 - a context manager
    """An upload while a request works on it: afterwards it is finished, free again (`keep`) or gone."""

    def __init__(self, context: Context, upload: Upload, *, keep: bool = False) -> None:
        self._context = context
        self._keep = keep
        self._finished = False
        self.upload = upload

    async def __aenter__(self) -> _held:
        return self

    async def finish(self, repository: str, name: Digest) -> None:
        self._finished = True
        await in_thread(self._context.uploads.finish, repository, self.upload, name)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: object
    ) -> None:
        if self._finished:
            return
        lost = isinstance(error, OSError) and no_room(error)
        keep = self._keep and not lost
        leave: Callable[[Upload], None] = (
            self._context.uploads.release if keep else self._context.uploads.discard
        )
        await in_thread(leave, self.upload)


async def _receive(request: Request, held: _held, said: _Chunk | None) -> None:
    """The body behind what is there already. Raises Refused, Gone, TimeoutError, OSError."""
    upload, before = held.upload, held.upload.size
    length = request.body.length
    if length is not None and before + length > limits.REGISTRY_BLOB:
        raise too_large(limits.REGISTRY_BLOB)
    async for pieces in request.body.pieces():
        await in_thread(upload.append, pieces)
    part = said.part if said is not None else None
    if part is not None and upload.size - before != part.size:
        came = upload.size - before
        await in_thread(upload.cut, before)
        raise Refused("SIZE_INVALID", f"Content-Range has {part.size} bytes, the body {came}")


def _mount(context: Context, request: Request, route: Route, name: Digest) -> bool:
    """Whether the blob was in `from`, or without it in any repository that the client may read."""
    source = route.value("from")
    if source is not None:
        sources = [source] if is_repository(source) else []
    else:
        sources = context.repositories.holders(name)
    allowed = [found for found in sources if context.access.may(request, found, "pull")]
    return bool(allowed) and context.repositories.mount(route.repository, name, allowed)


def _identity(route: Route) -> str:
    if not is_upload(route.item):
        raise unknown(route.item[:100])
    return route.item


def _where(repository: str, identity: str, size: int) -> Headers:
    return (
        ("Location", f"/v2/{repository}/blobs/uploads/{identity}"),
        ("Range", f"0-{max(size - 1, 0)}"),
        ("Docker-Upload-UUID", identity),
    )


def _created(repository: str, name: Digest) -> Response:
    headers = (("Location", f"/v2/{repository}/blobs/{name}"), ("Docker-Content-Digest", str(name)))
    return Response(HTTPStatus.CREATED, headers)
