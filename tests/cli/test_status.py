"""`orlop status`: whether the daemon is there, and how it is, for people and programs."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from orlop.kit.node import Node
from tests.cli.program import answer, orlop
from tests.cri.operate.test_signals import until
from tests.support.cri import Daemon, daemon
from tests.support.node import temporary_node

pytestmark = pytest.mark.host


@pytest.fixture
def node() -> Iterator[Node]:
    with temporary_node() as made:
        yield made


@pytest.fixture
def serving(node: Node) -> Iterator[Daemon]:
    with daemon(node) as running:
        yield running


def folders(node: Node) -> tuple[str, ...]:
    return ("--root", node.root, "--state", node.state, "--config", node.config)


def test_a_daemon_that_answers_is_described(serving: Daemon) -> None:
    told = answer("status", *folders(serving.node))
    assert (told["running"], told["answers"], told["pid"]) == (True, True, serving.pid)
    assert told["socket"] == serving.socket
    assert {c["type"]: c["ok"] for c in told["conditions"]} == {"RuntimeReady": True, "NetworkReady": True}
    assert (told["pods"], told["containers"], told["images"]) == ({}, {}, 1)
    assert told["streaming"].startswith("http://127.0.0.1:")
    text = orlop("status", *folders(serving.node)).stdout
    assert f"{serving.pid}, since" in text
    assert "NetworkReady:  yes" in text


def test_no_daemon_is_exit_code_6_and_nothing_is_started(node: Node) -> None:
    done = orlop("status", *folders(node), code=6)
    assert "does not run" in done.stdout
    assert "orlop serve" in done.stderr
    assert not os.path.exists(node.in_state("orlop.sock"))


def test_what_a_dead_daemon_left_word_of_is_told_as_past(serving: Daemon) -> None:
    word = Path(serving.node.in_state("serve.json"))
    until(lambda: "recovery" in word.read_text())
    serving.kill()
    done = orlop("status", *folders(serving.node), code=6)
    assert "does not run" in done.stdout
    assert "recovery:" in done.stdout
    assert "since" not in done.stdout


def test_one_that_hangs_is_told_as_such(serving: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    os.kill(serving.pid, signal.SIGSTOP)
    try:
        done = orlop("status", *folders(serving.node), code=6)
    finally:
        os.kill(serving.pid, signal.SIGCONT)
    assert "runs, does not answer" in done.stdout


def test_a_condition_that_is_not_met_is_exit_code_1(node: Node, tmp_path: Path) -> None:
    Path(node.config).write_text(f'[network]\nconfig_dir = "{tmp_path}"\n')
    with daemon(node):
        done = orlop("status", *folders(node), code=1)
        assert "NetworkReady:  no: NetworkPluginNotReady" in done.stdout
        assert str(tmp_path) in done.stdout
    Path(node.config).write_text("")


def test_a_second_daemon_of_the_node_is_refused(serving: Daemon, tmp_path: Path) -> None:
    listen = f"unix://{tmp_path}/other.sock"
    done = orlop("serve", *folders(serving.node), "--listen", listen, code=4)
    assert "another daemon serves it" in done.stderr
    assert not (tmp_path / "other.sock").exists()
    orlop("image", "list", *folders(serving.node))
