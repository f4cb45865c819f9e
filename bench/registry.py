"""Our registry against Debian's docker-registry: one client, the same requests, both on one tmpfs.

    make bench  or  python -m bench registry

The client hashes nothing and keeps nothing, so what is measured is the registry. Blobs are random: nothing is
there already. 300 MB is one blob by POST and PUT; the small ones are 500 of 10 kB over one connection.
"""

from __future__ import annotations

import functools
import hashlib
import http.client
import os
import time
import uuid
from pathlib import Path

from bench.measure import Timing, in_turns, tmpfs
from orlop.kit.node import Node
from tests.registry.support import serving
from tests.support.registry import registry

_LARGE = 300_000_000
_SMALL = 10_000
_COUNT = 500
_BUFFER = 1 << 20


class Client:
    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self._connection = http.client.HTTPConnection(host, int(port), timeout=120, blocksize=_BUFFER)
        self._repository = "bench/" + uuid.uuid4().hex

    def push(self, blobs: list[bytes]) -> float:
        """Seconds until all are there."""
        digests = [f"sha256:{hashlib.sha256(data).hexdigest()}" for data in blobs]
        begun = time.perf_counter()
        for data, digest in zip(blobs, digests, strict=True):
            response = self._ask("POST", f"/v2/{self._repository}/blobs/uploads/", b"")
            where = response.headers["Location"]
            response.read()
            mark = "&" if "?" in where else "?"
            response = self._ask("PUT", f"{where}{mark}digest={digest}", data)
            response.read()
            assert response.status == 201, response.status
        return time.perf_counter() - begun

    def pull(self, blobs: list[bytes]) -> float:
        """Seconds until all have arrived; they were pushed before."""
        digests = [f"sha256:{hashlib.sha256(data).hexdigest()}" for data in blobs]
        buffer = bytearray(_BUFFER)
        self._connection.close()  # it was idle for long
        begun = time.perf_counter()
        for data, digest in zip(blobs, digests, strict=True):
            response = self._ask("GET", f"/v2/{self._repository}/blobs/{digest}")
            total = 0
            while count := response.readinto(buffer):
                total += count
            assert total == len(data)
        return time.perf_counter() - begun

    def _ask(self, method: str, path: str, body: bytes | None = None) -> http.client.HTTPResponse:
        self._connection.request(method, path, body, {"Content-Type": "application/octet-stream"})
        return self._connection.getresponse()


def measure(folder: Path, *, rounds: int) -> dict[str, list[Timing]]:
    """Timings by what was done."""
    found: dict[str, list[Timing]] = {}
    with tmpfs(folder) as memory:
        places = memory / "node", memory / "peer"
        for place in places:
            place.mkdir()
        with serving(node=_node(places[0])) as ours, registry(storage=places[1]) as peer:
            addresses = {"orlop": ours.address, "docker-registry": peer.address}
            for title, size, count in (("300 MB", _LARGE, 1), (f"{_COUNT} of 10 kB", _SMALL, _COUNT)):
                pushes, pulls = {}, {}
                for name, address in addresses.items():
                    pushes[name] = functools.partial(_pushed, address, size, count)
                    client, blobs = Client(address), _blobs(size, count)
                    client.push(blobs)
                    pulls[name] = functools.partial(client.pull, blobs)
                found[f"registry: push {title}"] = in_turns(pushes, rounds=rounds)
                found[f"registry: pull {title}"] = in_turns(pulls, rounds=rounds)
    return found


def _pushed(address: str, size: int, count: int) -> float:
    return Client(address).push(_blobs(size, count))


def _blobs(size: int, count: int) -> list[bytes]:
    return [os.urandom(size) for _ in range(count)]


def _node(folder: Path) -> Node:
    (folder / "orlop.toml").touch()
    return Node(str(folder / "r"), str(folder / "s"), str(folder / "orlop.toml"))
