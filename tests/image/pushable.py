"""A small registry that can be pushed to and misbehaves on demand, for what a real one cannot be made to do.

with pushable() as server:
    server.faults["PUT blob"] = [broken(1000), status(503)]      # one each request, then well-behaved
"""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import json
import socket
import threading
import urllib.parse
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

Fault = Callable[["Handler"], bool]  # True: the request is answered (or cut), else it goes on


@dataclass
class Pushable:
    """`requests`: (method, path with query); `in_parts`: a body with a whole blob is refused with 413."""

    address: str
    blobs: dict[str, bytes] = field(default_factory=dict)
    manifests: dict[str, tuple[bytes, str]] = field(default_factory=dict)
    uploads: dict[str, bytearray] = field(default_factory=dict)
    faults: dict[str, list[Fault]] = field(default_factory=dict)
    requests: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    in_parts: bool = False
    subjects: bool = False
    tags: list[str] | None = None
    least: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def reference(self, tag: str = "1") -> str:
        return f"{self.address}/ship/cargo:{tag}"

    def asked(self, method: str, text: str = "") -> list[str]:
        with self.lock:
            return [path for seen, path, _ in self.requests if seen == method and text in path]


class _Server(http.server.ThreadingHTTPServer):
    pushable: Pushable
    daemon_threads = True

    def handle_error(self, *_: Any) -> None:
        pass


class Handler(http.server.BaseHTTPRequestHandler):
    """Distribution-spec 1.1, as much as a push needs."""

    server: _Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    @property
    def pushable(self) -> Pushable:
        return self.server.pushable

    def handle(self) -> None:
        if self.connection.recv(1, socket.MSG_PEEK) != b"\x16":  # TLS spoken to a plain port
            super().handle()

    def log_message(self, *_: Any) -> None:
        pass

    def _any(self) -> None:
        parts = urllib.parse.urlsplit(self.path)
        with self.pushable.lock:
            self.pushable.requests.append((self.command, self.path, dict(self.headers.items())))
        kind = next(
            (
                word
                for word in ("uploads", "blobs", "manifests", "referrers", "tags")
                if f"/{word}/" in parts.path
            ),
            "",
        )
        name = {"uploads": "upload", "blobs": "blob", "manifests": "manifest"}.get(kind, kind)
        if self.command == "PUT" and kind == "uploads":
            name = "blob"
        with self.pushable.lock:
            queue = self.pushable.faults.get(f"{self.command} {name}", [])
            fault = queue.pop(0) if queue else None
        if fault is not None and fault(self):
            return
        if not kind:
            self.answer(200, b"{}")
            return
        getattr(self, f"_{kind}")(parts.path.rpartition("/")[2], urllib.parse.parse_qs(parts.query))

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = _any  # noqa: N815

    def body(self) -> bytes:
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            data = b""
            while size := int(self.rfile.readline(), 16):
                data += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return data
        return self.rfile.read(int(self.headers.get("Content-Length", "0")))

    def _blobs(self, name: str, _: dict[str, list[str]]) -> None:
        data = self.pushable.blobs.get(urllib.parse.unquote(name))
        if data is None:
            self.answer(404, b"{}")
        else:
            self.answer(200, data)

    def _uploads(self, name: str, query: dict[str, list[str]]) -> None:
        if self.command == "POST":
            name = uuid.uuid4().hex
            self.pushable.uploads[name] = bytearray()
            self.answer(202, b"", **self._place(name))
            return
        upload = self.pushable.uploads.get(name)
        if upload is None or query.get("_state") != ["a/b c"]:
            self.body()
            self.answer(404, b'{"errors":[{"code":"BLOB_UPLOAD_UNKNOWN"}]}')
        elif self.command == "DELETE":
            del self.pushable.uploads[name]
            self.answer(204, b"")
        elif self.command == "GET":
            self.answer(204, b"", Range=f"0-{max(0, len(upload) - 1)}", **self._place(name))
        elif self.command == "PATCH":
            self._patch(name, upload)
        else:
            self._finish(upload, query["digest"][0])

    def _patch(self, name: str, upload: bytearray) -> None:
        span = self.headers.get("Content-Range")
        if span and int(span.partition("-")[0]) != len(upload):
            self.body()
            self.answer(416, b"", Range=f"0-{max(0, len(upload) - 1)}", **self._place(name))
            return
        upload += self.body()
        self.answer(202, b"", Range=f"0-{max(0, len(upload) - 1)}", **self._place(name))

    def _finish(self, upload: bytearray, digest: str) -> None:
        data = self.body()
        if data and self.pushable.in_parts:
            self.answer(413, b"{}")
            return
        whole = bytes(upload) + data
        if f"sha256:{hashlib.sha256(whole).hexdigest()}" != digest:
            self.answer(400, b'{"errors":[{"code":"DIGEST_INVALID"}]}')
            return
        self.pushable.blobs[digest] = whole
        self.answer(201, b"", Docker_Content_Digest=digest)

    def _place(self, name: str) -> dict[str, str]:
        """A relative Location with a query, as some registries have it."""
        found = {"Location": f"/v2/ship/cargo/blobs/uploads/{name}?_state=a%2Fb+c"}
        if self.pushable.least:
            found["OCI_Chunk_Min_Length"] = str(self.pushable.least)
        return found

    def _manifests(self, name: str, _: dict[str, list[str]]) -> None:
        known = self.pushable.manifests
        if self.command == "PUT":
            data = self.body()
            digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
            known[name] = known[digest] = (data, self.headers["Content-Type"])
            subject = json.loads(data).get("subject") if self.pushable.subjects else None
            extra = {"OCI_Subject": subject["digest"]} if subject else {}
            self.answer(201, b"", Docker_Content_Digest=digest, **extra)
        elif name not in known:
            self.answer(404, b'{"errors":[{"code":"MANIFEST_UNKNOWN"}]}')
        elif self.command == "DELETE":
            del known[name]
            self.answer(202, b"")
        else:
            self.answer(200, known[name][0], known[name][1])

    def _referrers(self, name: str, _: dict[str, list[str]]) -> None:
        if not self.pushable.subjects:
            self.answer(404, b"{}")
            return
        entries = []
        for key, (data, media_type) in self.pushable.manifests.items():
            document = json.loads(data)
            if key.startswith("sha256:") and (document.get("subject") or {}).get("digest") == name:
                kind = document.get("artifactType") or document["config"]["mediaType"]
                entries.append(
                    {"mediaType": media_type, "digest": key, "size": len(data), "artifactType": kind}
                )
        index = {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": entries,
        }
        self.answer(200, json.dumps(index).encode(), str(index["mediaType"]))

    def _tags(self, _: str, query: dict[str, list[str]]) -> None:
        """Two a page, whatever was asked for."""
        tags = self.pushable.tags or []
        last = query.get("last", [""])[0]
        start = tags.index(last) + 1 if last else 0
        page = tags[start : start + 2]
        more = start + 2 < len(tags)
        extra = {"Link": f'</v2/ship/cargo/tags/list?n=2&last={page[-1]}>; rel="next"'} if more else {}
        self.answer(200, json.dumps({"name": "ship/cargo", "tags": page}).encode(), **extra)

    def answer(self, code: int, body: bytes, media_type: str = "application/json", **headers: str) -> None:
        self.send_response(code)
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def hang_up(self) -> None:
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)


# Faults


def status(code: int) -> Fault:
    def fault(handler: Handler) -> bool:
        handler.body()
        handler.answer(code, b"{}")
        return True

    return fault


def broken(count: int, *, keep: bool = False) -> Fault:
    """Read `count` bytes of the body and hang up; with `keep` the upload has them."""

    def fault(handler: Handler) -> bool:
        data = handler.rfile.read(min(count, int(handler.headers.get("Content-Length", count))))
        if keep:
            name = urllib.parse.urlsplit(handler.path).path.rpartition("/")[2]
            handler.pushable.uploads[name] += data
        handler.hang_up()
        return True

    return fault


@contextlib.contextmanager
def pushable(**options: Any) -> Iterator[Pushable]:
    server = _Server(("127.0.0.1", 0), Handler)
    server.pushable = Pushable(f"127.0.0.1:{server.server_address[1]}", **options)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server.pushable
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
