"""SIGHUP: what can change does, what cannot is named, a wrong file changes nothing."""

from __future__ import annotations

import json
import os
import signal
import ssl
import subprocess
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orlop.cri.proto import cri_pb2 as pb
from orlop.kit.node import Node
from tests.cri.operate.test_signals import until
from tests.support.cri import Client, Daemon, daemon
from tests.support.node import temporary_node

pytestmark = pytest.mark.host


@pytest.fixture
def running() -> Iterator[Daemon]:
    with temporary_node(config='[serve]\nlog_format = "logfmt"\n') as node, daemon(node) as made:
        yield made


def reload(running: Daemon, text: str) -> dict[str, Any]:
    """Write the configuration, ask for it, wait until it was read; what `orlop status` is left."""
    Path(running.node.config).write_text(text)
    before = word(running.node).get("reload")
    os.kill(running.pid, signal.SIGHUP)
    until(lambda: word(running.node).get("reload") != before)
    return dict(word(running.node)["reload"])


def word(node: Node) -> dict[str, Any]:
    return dict(json.loads(Path(node.in_state("serve.json")).read_text()))


def test_level_and_format_of_the_log_change_at_once(running: Daemon) -> None:
    assert reload(running, '[serve]\nlog_format = "json"\nlog_level = "debug"\n')["error"] == ""
    with Client(running.socket) as client:
        client.Version(pb.VersionRequest())
    told = json.loads(running.said().splitlines()[-1])
    assert (told["level"], told["method"]) == ("debug", "Version")
    assert "[serve] log_level" in running.said()


def test_pinned_images_count_from_the_next_answer_on(running: Daemon) -> None:
    with Client(running.socket) as client:
        request = pb.ListImagesRequest()
        assert [image.pinned for image in client.ListImages(request).images] == [False]
        reload(running, '[cri]\npinned_images = ["docker.io/library/busybox:latest"]\n')
        assert [image.pinned for image in client.ListImages(request).images] == [True]


def test_a_network_that_is_configured_later_is_looked_at(running: Daemon, tmp_path: Path) -> None:
    with Client(running.socket) as client:
        assert all(c.status for c in client.Status(pb.StatusRequest()).status.conditions)
        reload(running, f'[network]\nconfig_dir = "{tmp_path}"\n')
        [_, network] = client.Status(pb.StatusRequest()).status.conditions
    assert not network.status
    assert str(tmp_path) in network.message
    reload(running, "")


@pytest.mark.parametrize(
    "wrong",
    [
        "[serve",
        '[serve]\nlog_level = "loud"\n',
        '[cri]\npinned_images = ["x"]\n\n[image]\nattempts = "three"\n',
        '[cri]\npinned_images = ["x"]\n\n[nonsense]\n',
    ],
)
def test_a_wrong_file_changes_nothing_and_is_told(running: Daemon, wrong: str) -> None:
    assert reload(running, wrong)["error"]
    assert "the configuration stays as it was" in running.said()
    with Client(running.socket) as client:
        assert not any(image.pinned for image in client.ListImages(pb.ListImagesRequest()).images)
    assert reload(running, "")["error"] == ""


def test_what_needs_a_restart_is_named(running: Daemon) -> None:
    reload(running, '[runtime]\npath = "runc"\n\n[cri]\nsocket_mode = "0600"\n')
    assert "needs a restart of the daemon" in running.said()
    assert "[runtime] path" in running.said()
    assert "[cri] socket_mode" in running.said()


def test_many_signals_at_once_end_in_the_last_file(running: Daemon) -> None:
    for count in range(1, 30):
        Path(running.node.config).write_text(f"[cri]\nparallel_pulls = {count}\n")
        os.kill(running.pid, signal.SIGHUP)
    with Client(running.socket) as client:

        def settings() -> dict[str, Any]:
            return dict(json.loads(client.Status(pb.StatusRequest(verbose=True)).info["config"])["cri"])

        until(lambda: settings()["parallel_pulls"] == 29)


def test_the_streaming_certificate_is_read_anew(tmp_path: Path) -> None:
    cert, key = tmp_path / "cert", tmp_path / "key"
    first = certificate(cert, key)
    text = f'[streaming]\ntls_cert = "{cert}"\ntls_key = "{key}"\n'
    with temporary_node(config=text) as node, daemon(node) as running:
        address = urllib.parse.urlsplit(word(node)["streaming"])

        def shown() -> str:
            return ssl.get_server_certificate((str(address.hostname), int(address.port or 0)), timeout=10)

        assert shown() == first
        second = certificate(cert, key)
        assert reload(running, text)["error"] == ""
        assert shown() == second != first
        key.write_text("no key")
        assert str(key) in reload(running, text)["error"]
        assert shown() == second


def certificate(cert: Path, key: Path) -> str:
    """Make a new one there; its text."""
    argv = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=node"
    subprocess.run([*argv.split(), "-keyout", key, "-out", cert], check=True, capture_output=True)
    return cert.read_text()
