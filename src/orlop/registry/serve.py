"""`orlop registry serve`: listening, connections, the end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from orlop.kit import limits, systemd
from orlop.kit.errors import InvalidInput, OrlopError, Unavailable
from orlop.kit.tasks import in_thread
from orlop.registry.access import Access
from orlop.registry.collect import collect
from orlop.registry.context import Context
from orlop.registry.dispatch import dispatch, refusal
from orlop.registry.errors import Refused
from orlop.registry.http import Request, Response, answer, receive
from orlop.registry.settings import RegistrySettings, address
from orlop.registry.upload_files import Uploads
from orlop.registry.wire import Gone, Wire
from orlop.store.store import Store

_log = logging.getLogger(__name__)
_access = logging.getLogger(f"{__name__}.access")

_BACKLOG = 1024
_SHOWN = 1000  # characters of a path in the log
_LINGER = 2.0  # for an answer to reach a client that still sends what nobody wants


async def serve(store: Store, settings: RegistrySettings) -> None:
    """Serve until SIGTERM or SIGINT, then let requests under way end. Several may serve one store.

    Raises InvalidInput (settings, files), NotFound, Unavailable (the address cannot be had).
    """
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(limits.REGISTRY_THREADS, "registry"))
    repositories = store.repositories
    context = Context(store, repositories, Uploads(store.layout, repositories), Access(settings), settings)
    server = Server(context)
    stop = asyncio.Event()
    with _signals(stop.set):
        url = await server.start()
        async with _beside(server.collecting()):
            systemd.ready(f"serving {url}")
            _log.info("serving %s of %s", url, store.layout.root)
            settings.ready(url)
            await stop.wait()
        systemd.stopping()
        await server.stop()


class Server:
    """The listener and its connections."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._idle: set[Wire] = set()
        self._stopping = False

    async def start(self) -> str:
        """Listen; returns the URL. Raises InvalidInput, Unavailable."""
        loop, settings = asyncio.get_running_loop(), self._context.settings
        tls = _tls(settings)
        handshake = limits.REGISTRY_HEADERS_TIME if tls is not None else None
        try:
            if settings.listen.startswith("unix:"):
                path = settings.listen.removeprefix("unix:").removeprefix("//")
                with contextlib.suppress(FileNotFoundError):
                    _remove_dead(path)
                self._server = await loop.create_unix_server(
                    self._wire, path, ssl=tls, ssl_handshake_timeout=handshake, backlog=_BACKLOG
                )
                return f"unix:{path}"
            host, port = address(settings.listen)
            self._server = await loop.create_server(
                *(self._wire, host or None, port),
                ssl=tls,
                ssl_handshake_timeout=handshake,
                backlog=_BACKLOG,
            )
        except OSError as error:
            raise Unavailable(
                settings.listen,
                f"cannot be listened on: {error.strerror or error}",
                hint="choose another --listen, or see who has it: ss -ltnp",
            ) from error
        found = self._server.sockets[0].getsockname()
        shown = f"[{found[0]}]" if ":" in found[0] else found[0]
        return f"{'https' if tls else 'http'}://{shown}:{found[1]}"

    async def stop(self) -> None:
        """No new connections and requests; those under way may end within limits.REGISTRY_SHUTDOWN."""
        self._stopping = True
        if self._server is not None:
            self._server.close()
        for wire in list(self._idle):
            wire.close()
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=limits.REGISTRY_SHUTDOWN)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)

    async def collecting(self) -> None:
        """Remove abandoned uploads, blobs that no manifest came for, and what the store then has too much."""
        while True:
            try:
                await in_thread(collect, self._context.store, timeout=1.0)
            except OrlopError as error:
                _log.warning("collecting: %s", error)
            await asyncio.sleep(limits.REGISTRY_COLLECT)

    def _wire(self) -> Wire:
        return Wire(self._begin)

    def _begin(self, wire: Wire) -> None:
        task = asyncio.get_running_loop().create_task(self._connection(wire))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connection(self, wire: Wire) -> None:
        """All requests of one client, one after the other."""
        try:
            if len(self._tasks) > limits.REGISTRY_CONNECTIONS:
                busy = Refused("TOOMANYREQUESTS", "too many clients", headers=(("Retry-After", "1"),))
                await answer(wire, refusal(busy), head_only=False, close=True)
            else:
                while await self._next(wire):
                    pass
            wire.close()
        except (Gone, TimeoutError, ConnectionError):
            wire.abort()
        except asyncio.CancelledError:
            wire.abort()
            raise
        except Exception:
            _log.exception("a connection failed")
            wire.abort()

    async def _next(self, wire: Wire) -> bool:
        """One request; whether another may follow on the connection."""
        if not await self._waited(wire):
            return False
        begun = time.monotonic()
        try:
            async with asyncio.timeout(limits.REGISTRY_HEADERS_TIME):
                request = await receive(wire)
        except Refused as why:
            await answer(wire, refusal(why), head_only=False, close=True)
            await _linger(wire)
            return False
        if request is None:
            return False
        response, user = await dispatch(self._context, request)
        whole = request.body.ended or (
            not request.body.declined and (request.body.length or 0) <= limits.REGISTRY_BODY_PIECE
        )
        keep = request.keep and whole and not self._stopping
        try:
            await answer(wire, response, head_only=request.method == "HEAD", close=not keep)
        finally:
            _note(wire, request, response, user, time.monotonic() - begun)
        if keep:
            return await request.body.skip(limits.REGISTRY_BODY_PIECE)
        if not request.body.ended:
            await _linger(wire)
        return False

    async def _waited(self, wire: Wire) -> bool:
        """Wait for the first byte of a request."""
        if self._stopping:
            return False
        self._idle.add(wire)
        try:
            async with asyncio.timeout(limits.REGISTRY_IDLE):
                return await wire.arrived()
        finally:
            self._idle.discard(wire)


async def _linger(wire: Wire) -> None:
    """A client that is sending sees our answer only if what it sends is taken: else it sees a reset."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_LINGER):
            wire.end()
            while await wire.read():
                pass


def _note(wire: Wire, request: Request, response: Response, user: str, seconds: float) -> None:
    _access.info(
        "%s %s %d",
        *(request.method[:20], request.target[:_SHOWN], response.status.value),
        extra={
            "fields": {
                "client": wire.peer,
                "user": user or "-",
                "bytes": response.length(),
                "seconds": round(seconds, 4),
                "agent": request.header("user-agent")[:200],
            }
        },
    )


def _tls(settings: RegistrySettings) -> ssl.SSLContext | None:
    """Raises InvalidInput."""
    if not settings.tls_cert and not settings.tls_key:
        if settings.tls_client_ca:
            raise InvalidInput("--tls-client-ca", "needs TLS", hint="give --tls-cert and --tls-key as well")
        return None
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        context.load_cert_chain(settings.tls_cert, settings.tls_key or None)
        if settings.tls_client_ca:
            context.load_verify_locations(settings.tls_client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
    except (OSError, ssl.SSLError) as error:
        raise InvalidInput(
            settings.tls_cert or settings.tls_key,
            f"certificate or key cannot be used: {error}",
            hint="PEM files: the certificate with its chain, and its key",
        ) from error
    return context


def _remove_dead(path: str) -> None:
    """A socket that nobody listens on any more. Raises OSError where somebody does."""
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
        else:
            raise OSError(f"{path}: somebody listens there")


@contextlib.asynccontextmanager
async def _beside(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    task = asyncio.get_running_loop().create_task(work)
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@contextlib.contextmanager
def _signals(stop: Callable[[], None]) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    chosen = (signal.SIGTERM, signal.SIGINT)
    for number in chosen:
        loop.add_signal_handler(number, stop)
    try:
        yield
    finally:
        for number in chosen:
            loop.remove_signal_handler(number)
