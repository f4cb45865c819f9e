"""A registry of ours as a process of its own on a temporary node, and a client that does what it is told.

with serving() as running:
    answer = running.client().ask("GET", "/v2/")
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orlop.kit.node import Node
from orlop.store.store import Store

ORLOP = os.path.join(os.path.dirname(sys.executable), "orlop")
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
EMPTY = "application/vnd.oci.empty.v1+json"
_STOP_SECONDS = 40


def digest(data: bytes, algorithm: str = "sha256") -> str:
    return f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"


def descriptor(media_type: str, data: bytes, **more: Any) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest(data), "size": len(data), **more}


@dataclass
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes
    all_headers: list[tuple[str, str]] = field(default_factory=list)

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def codes(self) -> list[str]:
        return [error["code"] for error in self.json["errors"]]


class Client:
    """One connection, kept alive. Header names of answers are in lower case."""

    def __init__(self, connection: http.client.HTTPConnection, headers: Mapping[str, str]) -> None:
        self.connection = connection
        self.headers = dict(headers)

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | Iterable[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        chunked = body is not None and not isinstance(body, bytes)
        self.connection.request(
            method, path, body=body, headers={**self.headers, **(headers or {})}, encode_chunked=chunked
        )
        response = self.connection.getresponse()
        found = [(name.lower(), value) for name, value in response.getheaders()]
        return Answer(response.status, dict(found), response.read(), found)

    def push_blob(self, repository: str, data: bytes, algorithm: str = "sha256") -> str:
        name = digest(data, algorithm)
        answer = self.ask("POST", f"/v2/{repository}/blobs/uploads/?digest={name}", data)
        assert answer.status == 201, answer
        return name

    def begin(self, repository: str, query: str = "") -> str:
        """Where the upload is that begins."""
        answer = self.ask("POST", f"/v2/{repository}/blobs/uploads/{query}", b"")
        assert answer.status == 202, answer
        return answer.headers["location"]

    def put_manifest(
        self, repository: str, reference: str, document: Mapping[str, Any], **more: str
    ) -> Answer:
        data = json.dumps(document).encode()
        kind = document.get("mediaType", MANIFEST)
        return self.ask(
            "PUT", f"/v2/{repository}/manifests/{reference}", data, {"Content-Type": kind, **more}
        )

    def push_image(self, repository: str, tag: str, *contents: bytes, **fields: Any) -> bytes:
        """Config and layers, then the manifest; returns its bytes."""
        layers = contents or (b"a layer",)
        config = b"{}"
        for data in (config, *layers):
            self.push_blob(repository, data)
        document = image(config, layers, **fields)
        answer = self.put_manifest(repository, tag, document)
        assert answer.status == 201, answer
        return json.dumps(document).encode()

    def close(self) -> None:
        self.connection.close()


def image(config: bytes, layers: Iterable[bytes], **fields: Any) -> dict[str, Any]:
    return {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": descriptor(CONFIG, config),
        "layers": [descriptor(LAYER, data) for data in layers],
        **fields,
    }


@dataclass
class Running:
    """`url` as the registry printed it; `log` is what it said so far."""

    url: str
    child: subprocess.Popen[bytes]
    node: Node
    folder: Path
    context: ssl.SSLContext | None = None

    @property
    def address(self) -> str:
        return self.url.partition("://")[2]

    @property
    def host_and_port(self) -> tuple[str, int]:
        host, _, port = self.address.rpartition(":")
        return host.strip("[]"), int(port)

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()

    def client(self, **headers: str) -> Client:
        host, port = self.host_and_port
        if self.url.startswith("https:"):
            return Client(http.client.HTTPSConnection(host, port, context=self.context, timeout=60), headers)
        return Client(http.client.HTTPConnection(host, port, timeout=60), headers)

    def socket(self) -> socket.socket:
        return socket.create_connection(self.host_and_port, timeout=60)

    def store(self) -> Store:
        return Store(self.node)

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.child.send_signal(number)
        return self.child.wait(_STOP_SECONDS)


@contextlib.contextmanager
def temporary_root() -> Iterator[Node]:
    folder = tempfile.mkdtemp(prefix="orlop-registry-")
    Path(folder, "orlop.toml").touch()
    try:
        yield Node(f"{folder}/r", f"{folder}/s", f"{folder}/orlop.toml")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def orlop(
    node: Node, *arguments: str, stdin: bytes = b"", env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[bytes]:
    argv = [ORLOP, "--root", node.root, "--state", node.state, "--config", node.config, *arguments]
    return subprocess.run(
        argv, input=stdin, capture_output=True, timeout=120, check=False, env={**os.environ, **(env or {})}
    )


@contextlib.contextmanager
def serving(
    *options: str, node: Node | None = None, listen: str = "127.0.0.1:0", env: Mapping[str, str] | None = None
) -> Iterator[Running]:
    """`orlop registry serve` for the `with` block, on `node` or on one of its own."""
    with contextlib.ExitStack() as stack:
        where = stack.enter_context(temporary_root()) if node is None else node
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="orlop-registry-log-")))
        log = stack.enter_context((folder / "log").open("wb"))
        child = subprocess.Popen(
            [
                *("setpriv", "--pdeathsig", "KILL"),
                *(ORLOP, "--root", where.root, "--state", where.state, "--config", where.config),
                *("registry", "serve", "--listen", listen, *options),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            env={**os.environ, **(env or {})},
        )
        assert child.stdout is not None
        try:
            url = child.stdout.readline().decode().strip()
            assert url, (folder / "log").read_text()
            yield Running(url, child, where, folder)
        finally:
            child.kill()
            child.wait()
            child.stdout.close()
