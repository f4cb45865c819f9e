"""systemd as the manager of cgroups on pure cgroup v2: pods in slices of our own and in a kubelet's."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.vm.guest import Guest

pytestmark = [pytest.mark.vm, pytest.mark.timeout(3600)]

_NODE = ("--root", "/var/lib/orlop-sd", "--state", "/run/orlop-sd", "--config", "/root/systemd.toml")
_SCRIPT = Path(__file__).with_name("systemd_cgroups.py")


@pytest.fixture(scope="module")
def managed(machine: Guest) -> Guest:
    """With the script in the guest, and a node whose cgroups are systemd's."""
    for path, text in (
        ("/root/systemd.toml", '[runtime]\ncgroup_manager = "systemd"\n'),
        ("/root/systemd_cgroups.py", _SCRIPT.read_text()),
    ):
        machine.run("sh", "-c", 'printf %s "$1" > "$2"', "sh", text, path)
    machine.run("/opt/orlop/bin/orlop", *_NODE, "image", "pull", "127.0.0.1:5055/busybox:latest")
    return machine


@pytest.mark.parametrize("whose", ["own", "parent"])
def test_pods_lie_in_slices_with_their_limits_and_leave_no_unit(managed: Guest, whose: str) -> None:
    managed.run("/opt/orlop/bin/python", "/root/systemd_cgroups.py", whose, timeout=300)


def test_a_node_under_systemd_leaves_nothing(managed: Guest) -> None:
    for node in (_NODE, ()):  # the one of these tests, and the one that the unit served
        managed.run("/opt/orlop/bin/orlop", *node, "node", "down", "--purge", timeout=300)
    found = managed.run("sh", "-c", "find /sys/fs/cgroup -maxdepth 2 -name 'orlop*' -not -name '*.service'")
    assert found.stdout == ""
