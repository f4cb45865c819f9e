"""sd_notify, the watchdog and socket activation, spoken with a socket of the test's."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from orlop.kit import systemd


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """systemd's end of the notification socket."""
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(path)
        listening.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", path)
        yield listening


def test_each_state_is_told_in_the_words_of_sd_notify(manager: socket.socket) -> None:
    systemd.ready("3 pods")
    assert manager.recv(999) == b"READY=1\nSTATUS=3 pods"
    systemd.ready()
    assert manager.recv(999) == b"READY=1"
    systemd.reloading()
    first, second = manager.recv(999).decode().split("\n")
    assert first == "RELOADING=1"
    assert second.startswith("MONOTONIC_USEC=") and int(second.partition("=")[2]) > 0
    systemd.status("busy")
    assert manager.recv(999) == b"STATUS=busy"
    systemd.alive()
    assert manager.recv(999) == b"WATCHDOG=1"
    systemd.stopping()
    assert manager.recv(999) == b"STOPPING=1"


def test_an_abstract_socket_is_reached_too(monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"orlop-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(f"\0{name}")
        monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}")
        systemd.ready()
        assert listening.recv(99) == b"READY=1"


def test_without_a_manager_nothing_is_said_and_nothing_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    systemd.ready()
    monkeypatch.setenv("NOTIFY_SOCKET", "/no/such/socket")
    systemd.ready()


@pytest.mark.parametrize(
    ("usec", "pid", "seconds"),
    [
        ("30000000", "", 30.0),
        ("30000000", "own", 30.0),
        ("30000000", "1", 0.0),
        ("", "", 0.0),
        ("x", "", 0.0),
    ],
)
def test_the_watchdogs_time_counts_for_the_process_that_it_names(
    usec: str, pid: str, seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", usec)
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()) if pid == "own" else pid)
    assert systemd.watchdog() == seconds


def test_passed_sockets_are_taken_once_and_not_inherited(tmp_path: Path) -> None:
    script = """
import os, sys
from orlop.kit import systemd
os.environ["LISTEN_PID"] = str(os.getpid())
[found] = systemd.listening()
print(found.getsockname(), found.get_inheritable(), systemd.listening(), "LISTEN_FDS" in os.environ)
"""
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen()
        child = f"exec 3<&{listening.fileno()}; exec {sys.executable} -c '{script}'"
        done = subprocess.run(
            ["bash", "-c", child],
            env={**os.environ, "LISTEN_FDS": "1"},
            pass_fds=(listening.fileno(),),
            capture_output=True,
            text=True,
            check=True,
        )
    assert done.stdout.split() == [path, "False", "[]", "False"]


def test_sockets_of_another_process_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LISTEN_PID", "1")
    monkeypatch.setenv("LISTEN_FDS", "1")
    assert systemd.listening() == []


def test_the_journal_is_recognized_by_device_and_inode(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open(tmp_path / "x", "w") as stream:
        there = os.fstat(stream.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{there.st_dev}:{there.st_ino}")
        assert systemd.under_journal(stream.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{there.st_dev}:{there.st_ino + 1}")
        assert not systemd.under_journal(stream.fileno())
    monkeypatch.delenv("JOURNAL_STREAM")
    assert not systemd.under_journal()
