"""A Deployment from 3 to 30 Ready pods on a real kubelet, over each daemon in turn.

Each has a control plane and a network namespace of its own; the image is there before.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

from bench.cri_peers import PEERS, Peer
from bench.measure import Timing, tmpfs
from orlop.cri.proto import cri_pb2 as pb
from tests.kubelet.cluster import ControlPlane, control_plane, inside, kubelet, network
from tests.kubelet.manifests import deployment
from tests.support import images
from tests.support.cri import Client
from tests.support.registry import registry

_FROM, _TO = 3, 30
_SECONDS = 300
_KUBELET = "1.36"


def measure(folder: Path, *, rounds: int, peers: tuple[str, ...] = tuple(PEERS)) -> list[Timing]:
    """Seconds from `kubectl scale` until the 30th pod is Ready."""
    found = []
    with registry() as running, tmpfs(folder) as place:
        image = images.busybox(running)
        pause = images.busybox(running, "pause:1", config={"Cmd": ["sleep", "1000000"]})
        for name in peers:
            with (
                network() as netns,
                control_plane(place / f"{name}-plane", netns) as plane,
                _node(name, place, running.address, pause, plane, image),
            ):
                found.append(Timing(name, tuple(_scaled(plane, image) for _ in range(rounds))))
    return found


@contextlib.contextmanager
def _node(
    name: str, place: Path, address: str, pause: str, plane: ControlPlane, image: str
) -> Iterator[Peer]:
    """The daemon in the cluster's network, with the images, and a kubelet on it."""
    # The images come while the daemon is outside, where the registry is.
    with PEERS[name](place / name, address, pause) as peer, Client(peer.socket) as client:
        for each in (image, pause):
            client.PullImage(pb.PullImageRequest(image=pb.ImageSpec(image=each)), timeout=120)
    prefix = tuple(inside(plane.netns))
    with (
        PEERS[name](place / name, address, pause, prefix) as peer,
        kubelet(plane, _KUBELET, endpoint=f"unix://{peer.socket}"),
    ):
        try:
            yield peer
        finally:
            plane.delete("deployment", "--all")
            plane.wait("the pods to go", lambda: not plane.get("pods")["items"])


def _scaled(plane: ControlPlane, image: str) -> float:
    loop = ("sh", "-c", "trap exit TERM; sleep 100000 & wait")
    plane.apply(deployment("fleet", image, *loop, replicas=_FROM))
    _ready(plane, _FROM)
    started = time.perf_counter()
    plane.kubectl("scale", "deployment/fleet", f"--replicas={_TO}")
    _ready(plane, _TO)
    taken = time.perf_counter() - started
    plane.delete("deployment", "fleet")
    plane.wait("the pods to go", lambda: not plane.get("pods", "-l", "app=fleet")["items"])
    return taken


def _ready(plane: ControlPlane, count: int) -> None:
    want = f"--for=jsonpath={{.status.readyReplicas}}={count}"
    plane.kubectl("wait", want, "deployment/fleet", f"--timeout={_SECONDS}s", timeout=_SECONDS + 10)
