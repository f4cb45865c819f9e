"""The registry of `examples/hello`: Debian's docker-registry on loopback, with the example's image in it.

A real registry, so that `make up` shows a real pull; here and not in the node, because a registry is not a
part of one. Its files are below .cache/hello, its process outlives `make up` and ends with `make down`.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from orlop.kit import process
from orlop.kit.errors import Conflict, TimedOut

HOST = "127.0.0.1"
PORT = 5055
ADDRESS = f"{HOST}:{PORT}"
IMAGE = f"{ADDRESS}/hello:1"

_FOLDER = Path(".cache/hello").absolute()
_CONFIG = _FOLDER / "registry.yml"
_PID = _FOLDER / "registry.pid"
_START_SECONDS = 15.0

_CONFIGURATION = """\
version: 0.1
log: {{level: error, accesslog: {{disabled: true}}}}
storage: {{filesystem: {{rootdirectory: {root}}}, delete: {{enabled: true}}}}
http: {{addr: "{address}"}}
"""


def start() -> bool:
    """The registry answers afterwards; returns whether it had to be started.

    Raises Conflict where somebody else has the port, TimedOut where it does not come up.
    """
    if _pid() is not None:
        return False
    if _answers():
        raise Conflict(
            ADDRESS, "another program listens there", hint=f"stop it, see: ss -ltnp sport = :{PORT}"
        )
    _FOLDER.mkdir(parents=True, exist_ok=True)
    _CONFIG.write_text(_CONFIGURATION.format(root=_FOLDER / "data", address=ADDRESS), encoding="utf-8")
    with open(_FOLDER / "registry.log", "ab") as log:
        argv = ["docker-registry", "serve", str(_CONFIG)]
        child = process.spawn(argv, stdout=log.fileno(), stderr=log.fileno())
    _PID.write_text(str(child.pid), encoding="ascii")
    deadline = time.monotonic() + _START_SECONDS
    while not _answers():
        if child.poll() is not None or time.monotonic() > deadline:
            raise TimedOut("the example's registry", "does not answer", hint=f"see {_FOLDER}/registry.log")
        time.sleep(0.05)
    return True


def stop() -> bool:
    """Stop the registry; returns whether it ran. What was pushed stays in .cache."""
    pid = _pid()
    if pid is None:
        return False
    handle = os.pidfd_open(pid)
    try:
        signal.pidfd_send_signal(handle, signal.SIGTERM)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, 0)
        while _pid() is not None:
            time.sleep(0.02)
    finally:
        os.close(handle)
    _PID.unlink(missing_ok=True)
    return True


def push(registry: Any = None) -> None:
    """Build the example's image from busybox and push it: to a registry of the tests, else to the one here.

    The same bytes each time, so twice is harmless.
    """
    from tests.support import images

    base = images.busybox_image({"Cmd": ["httpd", "-f", "-p", "8080", "-h", "/www"]})
    site = images.Layer(images.tar({"www/index.html": b"Hello from Orlop\n"}))
    images.push(registry or cast(Any, _Open()), "hello:1", replace(base, layers=(*base.layers, site)))


@dataclass(frozen=True)
class _Open:
    """What tests.support.images wants to know of a registry: no TLS, no passwords."""

    url: str = f"http://{ADDRESS}"
    authority: None = None
    client_certificate: None = None
    tokens: None = None
    credentials: None = None

    def reference(self, name: str) -> str:
        return f"{ADDRESS}/{name}"


def _answers() -> bool:
    with contextlib.suppress(OSError), socket.create_connection((HOST, PORT), timeout=1):
        return True
    return False


def _pid() -> int | None:
    """The registry's process, if it is still ours: its command line names our configuration."""
    try:
        pid = int(_PID.read_text(encoding="ascii"))
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (OSError, ValueError):
        return None
    return pid if str(_CONFIG).encode() in words else None
