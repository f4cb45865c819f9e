"""One guest for all tests of this folder, in the order of their files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.vm import result
from tests.vm.guest import BUSYBOX, Guest, guest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--write-result", action="store_true", help="write what came out to docs/conformance.md")


def pytest_sessionfinish(session: pytest.Session) -> None:
    if session.config.getoption("--write-result"):
        result.write(session)


@pytest.fixture(scope="session")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guest]:
    with guest(tmp_path_factory.mktemp("vm")) as running:
        result.learn(running)
        yield running


_CLIENT = Path(__file__).with_name("client.py")
_UNITS = "/etc/systemd/system"


@pytest.fixture(scope="session")
def served(machine: Guest) -> Iterator[Guest]:
    """The guest with the daemon's unit enabled and started, cgroups by systemd."""
    machine.write("/root/client.py", _CLIENT.read_text())
    machine.write("/etc/orlop/orlop.toml", '[runtime]\ncgroup_manager = "systemd"\n')
    machine.orlop("image", "pull", BUSYBOX)
    machine.orlop("serve", "--systemd-units", _UNITS)
    machine.run("systemctl", "daemon-reload")
    machine.run("systemd-analyze", "verify", f"{_UNITS}/orlop.service")
    machine.run("systemctl", "enable", "--now", "orlop.service")
    yield machine
    machine.run("systemctl", "disable", "--now", "orlop.socket", "orlop.service", check=False)
    machine.orlop("node", "down", "--purge")
    machine.run("rm", "-rf", "/etc/orlop", f"{_UNITS}/orlop.service", f"{_UNITS}/orlop.socket")
    machine.run("systemctl", "daemon-reload")
