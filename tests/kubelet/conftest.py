"""One control plane for all tests here, and nodes of three minor versions on one Orlop daemon."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.kubelet.cluster import ControlPlane, Kubelet, control_plane, kubelet, network
from tests.kubelet.daemon import Daemon
from tests.support import images
from tests.support.node import temporary_node
from tests.support.registry import registry

_CONFIG = '[runtime]\nhandlers = ["runc=runc"]\n'  # a second runtime, for runtime classes


@dataclass
class Bench:
    """What a test works with: the cluster, its node and the daemon below it."""

    plane: ControlPlane
    kubelet: Kubelet
    daemon: Daemon
    image: str  # busybox, in the store already
    content: str  # an image with /content/motd, for image volumes


@pytest.fixture(scope="package")
def plane() -> Iterator[ControlPlane]:
    folder = Path(tempfile.mkdtemp(prefix="orlop-k8s-"))
    try:
        with network() as netns, control_plane(folder, netns) as running:
            yield running
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="package")
def prepared(plane: ControlPlane) -> Iterator[tuple[Daemon, str, str]]:
    """A daemon in the cluster's network namespace, with the images in its store."""
    with temporary_node(config=_CONFIG) as node, registry() as running:
        busybox = images.busybox(running)
        layer = images.Layer(images.tar({"content/": b"", "content/motd": b"hello from an image\n"}))
        content = images.push(running, "content:1", images.Image((layer,)))
        daemon = Daemon(node, plane.netns)
        for reference in (busybox, content):
            daemon.orlop("image", "pull", "--tls-verify=false", reference)
        with daemon.running():
            yield daemon, busybox, content
            purge(daemon)


@contextlib.contextmanager
def bench(
    plane: ControlPlane, prepared: tuple[Daemon, str, str], minor: str, **config: Any
) -> Iterator[Bench]:
    """A node for the `with` block; `config` adds to its kubelet's."""
    daemon, image, content = prepared
    gates = {"featureGates": {"ImageVolume": True}} if minor == "1.34" else {}  # on since 1.35
    with kubelet(plane, minor, endpoint=daemon.endpoint, **gates, **config) as node:
        made = Bench(plane, node, daemon, image, content)
        try:
            yield made
        finally:
            plane.delete("deployments,jobs,pods", "--all", "--grace-period=1", "--wait=true")


def purge(daemon: Daemon) -> None:
    """No pod is left, whatever a test did."""
    listed = daemon.orlop("pod", "list", "--quiet").split()
    if listed:
        daemon.orlop("pod", "remove", "--force", *listed)
