"""HTTP for the registry client: per-host TLS, redirects that keep credentials home, bounded bodies.

One `Http` serves one pull. It retries nothing (retry.py does) and knows nothing of registries.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
import threading
import urllib.parse
import urllib.request
import weakref
from collections.abc import Iterable, Mapping
from typing import Any

import urllib3
import urllib3.connection
import urllib3.exceptions

from orlop.image.settings import ImageSettings
from orlop.image.transport.certificates import context_for
from orlop.kit import limits
from orlop.kit.errors import Cancelled, Corrupt, LimitExceeded, Unavailable

_USER_AGENT = "orlop/0.1"
_REDIRECTS = (301, 302, 303, 307, 308)
_DEFAULT_PORTS = {"http": 80, "https": 443}

Body = bytes | Iterable[bytes | memoryview] | None

urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)  # insecure = true was somebody's choice


class Broken(Unavailable):
    """The server could not be reached, or a connection broke.

    `lasting`: trying again is of no use. `absent`: nobody listens there, or the name does not exist.
    """

    def __init__(
        self,
        subject: str,
        cause: str,
        *,
        hint: str,
        lasting: bool = False,
        absent: bool = False,
        timed_out: bool = False,
    ) -> None:
        super().__init__(subject, cause, hint=hint)
        self.lasting = lasting
        self.absent = absent
        self.timed_out = timed_out


class Answer:
    """A response whose body has not been read. `trusted`: from the host that was asked, not a redirect's."""

    def __init__(self, response: urllib3.HTTPResponse, url: str, *, trusted: bool) -> None:
        self._response = response
        # urllib3's own readinto copies each chunk three times; http.client's response below it fills our
        # buffer straight from the socket.
        self._raw: Any = response._fp  # noqa: SLF001
        self.url = url
        self.trusted = trusted

    @property
    def status(self) -> int:
        return self._response.status

    def header(self, name: str) -> str:
        return self._response.headers.get(name, "")

    def headers(self, name: str) -> list[str]:
        return self._response.headers.getlist(name)

    @property
    def length(self) -> int | None:
        """The body's length as the server announced it, in bytes."""
        text = self.header("Content-Length")
        return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None

    def readinto(self, buffer: memoryview) -> int:
        """Body bytes into `buffer`, as they come; 0 at its end, also at an early one. Raises Broken."""
        raw = self._raw
        try:
            if raw.chunked or raw.length is None:
                return int(raw.readinto(buffer))
            if raw.fp is None or raw.length == 0:
                return 0
            # http.client would fill the whole buffer before it returns: a trickle would never be noticed.
            count = int(raw.fp.readinto1(buffer[: raw.length]))
            raw.length -= count
            if raw.length == 0:
                raw.readinto(buffer[:0])  # lets it notice its end, so that the connection can be used again
        except (OSError, http.client.HTTPException, ValueError, AttributeError) as error:
            raise _broken(self.url, error) from error
        return count

    def read(self, limit: int) -> bytes:
        """The whole body. Raises LimitExceeded beyond `limit` bytes, Broken."""
        with self:
            room = bytearray(limit + 1)
            view, filled = memoryview(room), 0
            while filled <= limit:
                count = self.readinto(view[filled:])
                if count == 0:
                    break
                filled += count
        if filled > limit:
            raise LimitExceeded(self.url, f"answers with more than {limit} bytes", hint="see what it serves")
        if self.length is not None and filled < self.length:
            raise Broken(self.url, "the connection broke within the answer", hint="try again")
        return bytes(view[:filled])

    def read_start(self, limit: int) -> bytes:
        """At most `limit` bytes of the body, for error messages; never raises."""
        with self, contextlib.suppress(Broken):
            view, filled = memoryview(bytearray(limit)), 0
            while filled < limit and (count := self.readinto(view[filled:])):
                filled += count
            return bytes(view[:filled])
        return b""

    def close(self) -> None:
        """Keep the connection for the next request where the body was read whole; end it otherwise."""
        raw: Any = self._raw
        if raw.isclosed():
            self._response.release_conn()
        else:
            self._response.close()

    def __enter__(self) -> Answer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Http:
    """The connections of one pull, safe to use from many threads."""

    def __init__(self, settings: ImageSettings, certificates: str = "") -> None:
        self._certificates = certificates
        self._settings = settings
        self._managers: dict[tuple[str, str, bool], urllib3.PoolManager] = {}
        self._lock = threading.Lock()
        self._sockets = _Sockets()

    def request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        *,
        insecure: bool = False,
        form: Mapping[str, str] | None = None,
        body: Body = None,
        follow: bool = True,
        quick: bool = False,
    ) -> Answer:
        """One request, redirects followed for GET and HEAD; `quick` waits no longer than for a connect.

        A `body` in pieces is sent as they come: chunked, but where `headers` have a Content-Length. What its
        iterator raises passes unchanged.

        `Authorization` is dropped as soon as a redirect leads to another host, and a redirect from https to
        http is refused unless `insecure`. Raises Broken, Corrupt (redirects without end).
        """
        sent = {"User-Agent": _USER_AGENT, "Accept-Encoding": "identity", **headers}
        if form is not None:
            body = urllib.parse.urlencode(form).encode()
            sent["Content-Type"] = "application/x-www-form-urlencoded"
        home, trusted = origin(url), True
        for _ in range(limits.HTTP_REDIRECTS + 1):
            answer = Answer(self._send(method, url, sent, body, insecure, quick), url, trusted=trusted)
            location = answer.header("Location")
            if not follow or method not in ("GET", "HEAD") or answer.status not in _REDIRECTS or not location:
                return answer
            answer.close()
            url = redirected(url, location, insecure=insecure)
            if origin(url) != home:
                trusted = False
                sent.pop("Authorization", None)
        raise Corrupt(
            url, f"more than {limits.HTTP_REDIRECTS} redirects", hint="the registry is misconfigured"
        )

    def close(self) -> None:
        """End every connection at once: a thread that waits for one gets Cancelled."""
        self._sockets.close()
        for manager in list(self._managers.values()):
            manager.clear()

    def _send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: Body,
        insecure: bool,
        quick: bool,
    ) -> urllib3.HTTPResponse:
        if self._sockets.closed:
            raise Cancelled(url, "the pull has ended", hint="pull again; it goes on where it was")
        try:
            response = self._manager(url, insecure).request(
                method,
                url,
                headers=dict(headers),
                body=body,  # type: ignore[arg-type]  # pieces go to sendall, which takes any buffer
                redirect=False,
                retries=False,
                preload_content=False,
                timeout=self._timeout(quick=quick),
            )
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            if self._sockets.closed:
                raise Cancelled(url, "the pull has ended", hint="pull again") from error
            raise _broken(url, error) from error
        assert isinstance(response, urllib3.HTTPResponse)
        return response

    def _manager(self, url: str, insecure: bool) -> urllib3.PoolManager:
        scheme, host, *_ = urllib.parse.urlsplit(url)
        key = scheme, host, insecure
        with self._lock:
            manager = self._managers.get(key)
            if manager is None:
                manager = self._managers[key] = self._new_manager(url, host, insecure)
            return manager

    def _timeout(self, *, quick: bool) -> urllib3.Timeout:
        connect, read = self._settings.connect_timeout, self._settings.read_timeout
        return urllib3.Timeout(connect=connect, read=min(connect, read) if quick else read)

    def _new_manager(self, url: str, host: str, insecure: bool) -> urllib3.PoolManager:
        options: dict[str, Any] = {"maxsize": self._settings.parallel_blobs + 2}
        if url.startswith("https:"):
            options["ssl_context"] = context_for(host, verify=not insecure, folder=self._certificates)
        proxy = _proxy(url)
        if proxy:
            userinfo = urllib.parse.unquote(urllib.parse.urlsplit(proxy).netloc.rpartition("@")[0])
            login = urllib3.make_headers(proxy_basic_auth=userinfo) if userinfo else {}
            manager: urllib3.PoolManager = urllib3.ProxyManager(proxy, proxy_headers=login, **options)
        else:
            manager = urllib3.PoolManager(**options)
        manager.pool_classes_by_scheme = _tracking_pools(self._sockets, self._settings.read_timeout)
        return manager


def origin(url: str) -> tuple[str, str, int | None]:
    """Scheme, host and port: what credentials belong to."""
    parts = urllib.parse.urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or _DEFAULT_PORTS.get(parts.scheme)


def redirected(url: str, location: str, *, insecure: bool) -> str:
    """Where a Location of the answer to `url` leads. Raises Corrupt (unusable, or from https to http)."""
    try:
        target = urllib.parse.urljoin(url, location)
        scheme, host, _ = origin(target)
    except ValueError as error:
        raise Corrupt(
            url, f"redirects to {location[:200]!r}", hint="the registry is misconfigured"
        ) from error
    if scheme not in ("http", "https") or not host:
        raise Corrupt(url, f"redirects to {location[:200]!r}", hint="the registry is misconfigured")
    if scheme == "http" and url.startswith("https:") and not insecure:
        raise Corrupt(
            url,
            f"redirects from https to plain http ({target[:200]})",
            hint="have the registry repaired, or set insecure = true for it in registries.conf",
        )
    return target


def _proxy(url: str) -> str:
    """The proxy of the environment (https_proxy, http_proxy, no_proxy), never for this machine itself."""
    scheme, host, _ = origin(url)
    if host == "localhost" or host.startswith("127.") or host == "::1":
        return ""
    if urllib.request.proxy_bypass_environment(host):  # type: ignore[attr-defined]
        return ""
    return urllib.request.getproxies_environment().get(scheme, "")


class _Sockets:
    """The open sockets of all threads, so that another thread can end them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        self.closed = False

    def add(self, sock: socket.socket) -> None:
        with self._lock:
            self._open.add(sock)
            closed = self.closed
        if closed:
            _shut(sock)

    def close(self) -> None:
        with self._lock:
            self.closed = True
            sockets = list(self._open)
        for sock in sockets:
            _shut(sock)


def _shut(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        socket.socket.shutdown(
            sock, socket.SHUT_RDWR
        )  # below TLS, whose own shutdown is not for other threads


def _tracking_pools(sockets: _Sockets, send_timeout: float) -> dict[str, Any]:
    """Pool classes whose connections make their sockets known to `sockets`.

    urllib3 would bound the sending of a body's piece by the time for connecting.
    """

    class Plain(urllib3.connection.HTTPConnection):
        def connect(self) -> None:
            super().connect()
            self.sock.settimeout(send_timeout)
            sockets.add(self.sock)

    class Secure(urllib3.connection.HTTPSConnection):
        def connect(self) -> None:
            super().connect()
            self.sock.settimeout(send_timeout)
            sockets.add(self.sock)

    class PlainPool(urllib3.HTTPConnectionPool):
        ConnectionCls = Plain

    class SecurePool(urllib3.HTTPSConnectionPool):
        ConnectionCls = Secure

    return {"http": PlainPool, "https": SecurePool}


def _broken(url: str, error: Exception) -> Broken:
    """`error` in plain words."""
    host = urllib.parse.urlsplit(url).netloc
    words = " ".join(str(error).split())[:300]
    if isinstance(error, urllib3.exceptions.SSLError | ssl.SSLError):
        hint = (
            f"put its CA into /etc/containers/certs.d/{host}/ca.crt, or make it insecure in registries.conf"
        )
        return Broken(host, f"TLS failed: {words}", hint=hint, lasting=True)
    if isinstance(error, urllib3.exceptions.ProxyError):
        cause = f"the proxy {_without_password(_proxy(url))} fails: {words}"
        return Broken(host, cause, hint="check https_proxy, http_proxy and no_proxy", absent=True)
    if isinstance(error, urllib3.exceptions.NameResolutionError):
        return Broken(
            host, "the name does not resolve", hint="check the name and the machine's DNS", absent=True
        )
    if isinstance(error, urllib3.exceptions.NewConnectionError):  # before its base, ConnectTimeoutError
        reason = "connection refused" if "refused" in words else words
        return Broken(host, f"cannot be reached: {reason}", hint="check that it runs", absent=True)
    if isinstance(error, urllib3.exceptions.ConnectTimeoutError):
        cause, hint = "does not answer (connection timed out)", "check the address and the network"
        return Broken(host, cause, hint=hint, absent=True, timed_out=True)
    if isinstance(error, urllib3.exceptions.ReadTimeoutError | TimeoutError):
        return Broken(host, "stopped sending (timed out)", hint="try again", timed_out=True)
    if isinstance(error, urllib3.exceptions.LocationValueError | ValueError):
        return Broken(host, f"is no usable address: {words}", hint="check the name", lasting=True)
    return Broken(host, f"the connection broke: {words}", hint="try again")


def _without_password(proxy: str) -> str:
    return urllib.parse.urlsplit(proxy).netloc.rpartition("@")[2]
