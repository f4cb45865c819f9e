"""A probe by HTTP GET, as the kubelet does it: HTTP/1.1, one connection a request, nothing remembered.

A client of its own in place of a library's: it must not verify certificates, must not pool, must be cheap a
thousand times a minute, and must end on time whatever the other side sends (RFC 9110, RFC 9112).
"""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import replace
from functools import cache
from urllib.parse import urljoin, urlsplit

from orlop.kit import limits
from orlop.system.probes.model import HttpAction, Outcome

_DEFAULT_PORTS = {"http": 80, "https": 443}


class _Malformed(Exception):
    """The other side does not speak HTTP."""


async def ask_http(action: HttpAction, address: str, limit: float) -> Outcome:
    """Success for a status of 200 to 399 within `limit` seconds, redirects to the same host included."""
    where = f"{action.scheme.lower()}://{_bracketed(action.host or address)}:{action.port}"
    try:
        async with asyncio.timeout(limit):
            return await _follow(action, address)
    except TimeoutError:
        return Outcome(False, f"GET {where}{action.path}: no answer within {limit:g} s")
    except (OSError, ValueError, EOFError, _Malformed, asyncio.LimitOverrunError) as error:
        return Outcome(False, f"GET {where}{action.path}: {error}")


async def _follow(action: HttpAction, address: str) -> Outcome:
    for _ in range(limits.HTTP_REDIRECTS):
        status, location, body = await _get(action, address)
        if not 300 <= status < 400 or not location:
            break
        target = _redirected(action, address, location)
        if target is None:
            return Outcome(True, f"HTTP {status} to another host: {location}")
        action = target
    else:
        return Outcome(False, f"more than {limits.HTTP_REDIRECTS} redirects")
    return Outcome(200 <= status < 400, f"HTTP {status}: {body}" if body else f"HTTP {status}")


def _redirected(action: HttpAction, address: str, location: str) -> HttpAction | None:
    """Where a redirect leads, or None where that is another host."""
    host = action.host or address
    base = f"{action.scheme.lower()}://{_bracketed(host)}:{action.port}{action.path}"
    parts = urlsplit(urljoin(base, location))
    if parts.hostname != host.lower() or parts.scheme not in _DEFAULT_PORTS:
        return None
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    port = parts.port or _DEFAULT_PORTS[parts.scheme]
    return replace(action, scheme=parts.scheme.upper(), port=port, path=path)


async def _get(action: HttpAction, address: str) -> tuple[int, str, str]:
    """Status, Location and the start of the body."""
    host = action.host or address
    secure = _unverified() if action.scheme.upper() == "HTTPS" else None
    reader, writer = await asyncio.open_connection(host, action.port, ssl=secure, limit=limits.PROBE_HEADERS)
    try:
        writer.write(_request(action, host))
        await writer.drain()
        status, location = await _head(reader)
        body = await reader.read(limits.PROBE_BODY)
    finally:
        writer.transport.abort()  # nothing more is wanted; a TLS farewell could hang
    return status, location, body.decode(errors="replace").strip()[: limits.PROBE_MESSAGE]


def _request(action: HttpAction, host: str) -> bytes:
    path = action.path if action.path.startswith("/") else "/" + action.path
    headers = {
        "host": ("Host", f"{_bracketed(host)}:{action.port}"),
        "user-agent": ("User-Agent", "orlop-probe"),
        "accept": ("Accept", "*/*"),
    }
    extra: list[tuple[str, str]] = []
    for name, value in action.headers:
        if name.lower() in headers:
            headers[name.lower()] = (name, value)
        else:
            extra.append((name, value))
    lines = [f"GET {path} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in [*headers.values(), *extra, ("Connection", "close")]]
    if any("\r" in line or "\n" in line for line in lines):
        raise ValueError("a path or header of the probe contains a line break")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("utf-8", errors="surrogateescape")


async def _head(reader: asyncio.StreamReader) -> tuple[int, str]:
    while True:
        try:
            block = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError as error:
            raise _Malformed("the connection closed before an answer was complete") from error
        lines = block.decode("latin-1").split("\r\n")
        parts = lines[0].split(" ", 2)
        if len(parts) < 2 or not parts[0].startswith("HTTP/1.") or not parts[1].isdecimal():
            raise _Malformed(f"not an HTTP answer: {lines[0][:80]!r}")
        status = int(parts[1])
        if status >= 200:  # below: an interim response, the final one follows (RFC 9110, 15.2)
            break
    location = ""
    for line in lines[1:]:
        name, _, value = line.partition(":")
        if name.strip().lower() == "location":
            location = value.strip()
    return status, location


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


@cache
def _unverified() -> ssl.SSLContext:
    """A probe asks whether somebody answers, not who (Kubernetes, HTTPGetAction.scheme)."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
