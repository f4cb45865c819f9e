"""`Streaming`: URLs for what the CRI was asked, and the server that they lead to."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
import time
from collections.abc import AsyncIterator
from http import HTTPStatus

from orlop.cri.streaming import attach, exec, forward_spdy, forward_websocket, remote_spdy, remote_websocket  # noqa: A004
from orlop.cri.streaming.attach import Attach
from orlop.cri.streaming.client import Client, Wanted
from orlop.cri.streaming.descriptors import stopped
from orlop.cri.streaming.exec import Exec
from orlop.cri.streaming.http import Conversation, Headers, Refused, Request
from orlop.cri.streaming.link import Departures, Gone, Link
from orlop.cri.streaming.port_forward import PortForward
from orlop.cri.streaming.settings import StreamingSettings
from orlop.cri.streaming.tokens import Tokens
from orlop.cri.streaming.websocket import Tunnel, WebSocket, chosen, opened
from orlop.cri.streaming.workers import Workers
from orlop.kit import limits
from orlop.kit.errors import Conflict, InvalidInput, Unavailable
from orlop.pod.context import Pods
from orlop.pod.exec_container import running

_log = logging.getLogger(__name__)
_SPDY = "SPDY/3.1"
_TUNNEL = f"{_SPDY}+{forward_spdy.PROTOCOL}"
_ACCEPTING = 10  # turns of the loop until whoever was just accepted has a session
_LOOKS = 20  # at how idle a connection is, in its idle time

Asked = Exec | Attach | PortForward
_PLACES: dict[type, str] = {Exec: "exec", Attach: "attach", PortForward: "portforward"}


class Streaming:
    """Exec, attach and port-forward for clients that bring a URL from here.

    `exec`, `attach` and `port_forward` may be called from any thread once `start` has returned; they raise
    InvalidInput, NotFound, Conflict (it does not run) and LimitExceeded (too many URLs wait).
    """

    def __init__(self, pods: Pods, settings: StreamingSettings) -> None:
        self._pods, self._settings = pods, settings
        self._tokens: Tokens[Asked] = Tokens()
        self._sessions: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._tls: ssl.SSLContext | None = None
        self.base_url = ""

    async def start(self) -> None:
        """Listen. Raises Unavailable (the address cannot be had), InvalidInput (certificate or key)."""
        settings = self._settings
        self._tls = context(settings) if settings.tls else None
        self._workers, self._departures = Workers(), Departures()
        try:
            self._server = await asyncio.start_server(
                self._connected,
                settings.address,
                settings.port,
                ssl=self._tls,
                ssl_handshake_timeout=limits.STREAM_REQUEST_TIME if self._tls else None,
                limit=4 * limits.STREAM_CHUNK,
                backlog=socket.SOMAXCONN,
            )
        except OSError as error:
            self._departures.close()
            self._workers.close()
            raise Unavailable(
                f"{settings.address} port {settings.port}",
                f"cannot be listened on: {error.strerror}",
                hint="choose another in [streaming], or see who has it with: ss -ltnp",
            ) from error
        address, port = self._server.sockets[0].getsockname()[:2]
        self.base_url = settings.base_url.rstrip("/") or _base(address, port, secure=settings.tls)

    async def stop(self) -> None:
        """Listen no more, and end all sessions: exec'd processes are killed, containers go on."""
        if self._server is None:
            return
        server, self._server = self._server, None
        for listening in server.sockets:  # first: a server that is closed loses whom it just accepted
            asyncio.get_running_loop().remove_reader(listening.fileno())
        for _ in range(_ACCEPTING):
            await asyncio.sleep(0)
        server.close()
        for task in list(self._sessions):
            task.cancel()
        if self._sessions:
            await asyncio.wait(self._sessions)
        self._departures.close()
        self._workers.close()

    def reload_tls(self) -> None:
        """Read certificate and key anew, for connections to come. Raises InvalidInput: the old ones stay."""
        if self._tls is not None:
            context(self._settings)  # a context that a wrong key was loaded into would be of no use any more
            _load(self._tls, self._settings)

    @property
    def sessions(self) -> int:
        """How many clients are connected."""
        return len(self._sessions)

    # URLs

    def exec(
        self,
        container_id: str,
        command: tuple[str, ...],
        *,
        tty: bool,
        stdin: bool,
        stdout: bool,
        stderr: bool,
    ) -> str:
        """Where a client may run `command` in the container."""
        wanted = _wanted("exec", tty=tty, stdin=stdin, stdout=stdout, stderr=stderr)
        if not command or not command[0]:
            raise InvalidInput(f"container {container_id[:12]}", "nothing to execute", hint="give a command")
        row = running(self._pods, container_id)
        return self._url(Exec(row["id"], tuple(command), wanted))

    def attach(self, container_id: str, *, tty: bool, stdin: bool, stdout: bool, stderr: bool) -> str:
        """Where a client may join the container's own streams."""
        wanted = _wanted("attach", tty=tty, stdin=stdin, stdout=stdout, stderr=stderr)
        row = running(self._pods, container_id)
        return self._url(Attach(row["id"], wanted))

    def port_forward(self, sandbox_id: str, ports: tuple[int, ...]) -> str:
        """Where a client may connect to ports of the pod; `ports` matter to WebSockets only."""
        sandbox = self._pods.sandbox(sandbox_id)
        if sandbox.state != "ready":
            raise Conflict(f"pod {sandbox_id[:12]}", "is not ready", hint="see: orlop pod list")
        if len(ports) > forward_websocket.MOST_PORTS or not all(0 < port <= 0xFFFF for port in ports):
            raise InvalidInput(
                f"pod {sandbox_id[:12]}",
                "ports that are none, or too many",
                hint=f"at most {forward_websocket.MOST_PORTS}, each 1 to 65535",
            )
        return self._url(PortForward(sandbox.id, tuple(ports)))

    def _url(self, asked: Asked) -> str:
        return f"{self.base_url}/{_PLACES[type(asked)]}/{self._tokens.add(asked)}"

    # Connections

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._sessions.add(task)
        if self._server is None:
            task.cancel()
        conversation = Conversation(reader, writer)
        try:
            await self._serve(conversation, reader, writer)
        except Refused as why:
            with contextlib.suppress(OSError):
                await conversation.refuse(why)
                await Link(reader, writer, self._departures).farewell()
        except (Gone, TimeoutError, OSError, asyncio.CancelledError):
            return  # also when the server stops: nobody waits for this task's result
        except Exception:
            _log.exception("a streaming session failed")
        finally:
            writer.transport.abort()
            self._sessions.discard(task)

    async def _serve(
        self, conversation: Conversation, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        if len(self._sessions) > self._settings.max_streams:
            raise Refused(HTTPStatus.SERVICE_UNAVAILABLE, "too many clients", [(b"retry-after", b"1")])
        async with asyncio.timeout(limits.STREAM_REQUEST_TIME):
            request = await conversation.request()
        if request is None:
            return
        asked = self._asked(request)
        link = Link(reader, writer, self._departures, request.rest)
        async with _watched(link, self._settings.idle_timeout):
            if "websocket" in [value.lower() for value in request.values(b"upgrade")]:
                await self._websocket(asked, request, conversation, link)
            elif "spdy/3.1" in [value.lower() for value in request.values(b"upgrade")]:
                await self._spdy(asked, request, conversation, link)
            else:
                raise Refused(HTTPStatus.BAD_REQUEST, f"only upgrades to {_SPDY} or WebSocket are served")
        await link.farewell()

    def _asked(self, request: Request) -> Asked:
        """What the URL's token stands for; it is good no more. Raises Refused."""
        place, _, token = request.path.strip("/").rpartition("/")
        place = place.rpartition("/")[2]
        if place not in _PLACES.values():
            raise Refused(HTTPStatus.NOT_FOUND, "no such page")
        if request.method not in ("GET", "POST"):
            raise Refused(HTTPStatus.METHOD_NOT_ALLOWED, "GET or POST", [(b"allow", b"GET, POST")])
        asked = self._tokens.take(token)
        if asked is None or _PLACES[type(asked)] != place:
            raise Refused(HTTPStatus.NOT_FOUND, "this URL is unknown, used or too old")
        return asked

    async def _spdy(self, asked: Asked, request: Request, conversation: Conversation, link: Link) -> None:
        known = (forward_spdy.PROTOCOL,) if isinstance(asked, PortForward) else remote_spdy.PROTOCOLS
        protocol = _negotiated(request, known)
        await conversation.switch(
            [
                (b"Connection", b"Upgrade"),
                (b"Upgrade", _SPDY.encode()),
                (b"X-Stream-Protocol-Version", protocol.encode()),
            ]
        )
        if isinstance(asked, PortForward):
            await forward_spdy.Forwarding(
                link, self._pods, self._workers, asked.sandbox_id, self._settings.creation_timeout
            ).run()
            return
        opening = remote_spdy.Opening(link, protocol, asked.wanted)
        async with _running(asyncio.create_task(opening.connection.run())):
            client = await opening.client(self._settings.creation_timeout)
            if client is not None:
                await self._remote(asked, client)

    async def _websocket(
        self, asked: Asked, request: Request, conversation: Conversation, link: Link
    ) -> None:
        if isinstance(asked, PortForward):
            protocol = chosen(request, (_TUNNEL, *forward_websocket.PROTOCOLS))
            socket = await opened(request, conversation, link, protocol)
            if protocol == _TUNNEL:
                await self._tunnel(asked, socket)
                return
            channels = forward_websocket.opened(socket, protocol, asked.ports)
            async with _running(asyncio.create_task(channels.run())):
                await forward_websocket.serve(self._pods, self._workers, asked, channels)
            return
        protocol = chosen(request, remote_websocket.PROTOCOLS)
        socket = await opened(request, conversation, link, protocol)
        opening = remote_websocket.Opening(socket, protocol, asked.wanted)
        async with _running(asyncio.create_task(opening.channels.run())):
            await self._remote(asked, await opening.client())

    async def _tunnel(self, asked: PortForward, socket: WebSocket) -> None:
        forwarding = forward_spdy.Forwarding(
            Tunnel(socket), self._pods, self._workers, asked.sandbox_id, self._settings.creation_timeout
        )
        await forwarding.run()
        with contextlib.suppress(Gone):
            await socket.close()

    async def _remote(self, asked: Exec | Attach, client: Client) -> None:
        if isinstance(asked, Exec):
            await exec.serve(self._pods, self._workers, asked, client, self._settings.exec_grace)
        else:
            await attach.serve(self._pods, self._workers, asked, client)


@contextlib.asynccontextmanager
async def _running(task: asyncio.Task[None]) -> AsyncIterator[None]:
    """A connection's reader, for as long as somebody is served."""
    try:
        yield
    finally:
        await stopped(task)


@contextlib.asynccontextmanager
async def _watched(link: Link, idle: float) -> AsyncIterator[None]:
    """A connection that has been idle too long is closed: then whoever reads it meets its end."""

    timer = asyncio.get_running_loop().call_later(idle / _LOOKS, lambda: None)

    def look() -> None:
        nonlocal timer
        if time.monotonic() - link.moved >= idle:
            link.abort()
        else:
            timer = asyncio.get_running_loop().call_later(idle / _LOOKS, look)

    timer.cancel()
    look()
    try:
        yield
    finally:
        timer.cancel()


def _wanted(what: str, *, tty: bool, stdin: bool, stdout: bool, stderr: bool) -> Wanted:
    if tty and stderr:
        raise InvalidInput(what, "a terminal has no separate error stream", hint="ask for tty or stderr")
    if not (stdin or stdout or stderr):
        raise InvalidInput(what, "no stream is asked for", hint="one of stdin, stdout, stderr")
    return Wanted(tty, stdin, stdout, stderr)


def _negotiated(request: Request, known: tuple[str, ...]) -> str:
    """The first of the client's protocols that is known. Raises Refused."""
    asked = request.values(b"x-stream-protocol-version")
    if not asked:
        raise Refused(HTTPStatus.BAD_REQUEST, "the header X-Stream-Protocol-Version is missing")
    for protocol in asked:
        if protocol in known:
            return protocol
    accepted: Headers = [(b"x-accepted-stream-protocol-versions", name.encode()) for name in known]
    raise Refused(HTTPStatus.FORBIDDEN, f"none of {', '.join(asked)[:200]} is spoken here", accepted)


def _base(address: str, port: int, *, secure: bool) -> str:
    """The URL by which this machine reaches the server; one that listens everywhere is on loopback too."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address, address)  # noqa: S104
    return f"{'https' if secure else 'http'}://{f'[{host}]' if ':' in host else host}:{port}"


def context(settings: StreamingSettings) -> ssl.SSLContext:
    """With the certificate, its key and the clients' authority. Raises InvalidInput."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    versions = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
    made.minimum_version = versions[settings.tls_min_version]
    made.set_alpn_protocols(["http/1.1"])
    _load(made, settings)
    return made


def _load(context: ssl.SSLContext, settings: StreamingSettings) -> None:
    try:
        context.load_cert_chain(settings.tls_cert, settings.tls_key)
        if settings.tls_ca:
            context.load_verify_locations(settings.tls_ca)
            context.verify_mode = ssl.CERT_REQUIRED
    except OSError as error:  # SSLError is one
        raise InvalidInput(
            f"[streaming] {settings.tls_cert}, {settings.tls_key}, {settings.tls_ca}",
            f"cannot be used: {error.strerror or error}",
            hint="PEM files: the chain, its key, and the authority of clients' certificates if they need one",
        ) from error
