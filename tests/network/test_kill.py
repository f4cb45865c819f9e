"""kill -9 at many points of an ADD and of a DEL: `collect` leaves nothing of it."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from orlop.network.model import PortMapping
from tests.network.conftest import Lab, bridge_of, free_port, rules_of, veths

pytestmark = pytest.mark.host

_CHILD = """
import sys
from orlop.kit.node import Node
from orlop.network.model import Attachment, PortMapping
from orlop.network.network import Network
import orlop.network.ports, orlop.network.rules
verb, root, state, netns, port = sys.argv[1:]
network = Network(Node(root, state))
print("ready", flush=True)
sys.stdin.readline()
if verb == "add":
    network.add(Attachment("victim", netns, "victim", ports=(PortMapping(int(port), 80),) * (port != "0")))
else:
    network.delete("victim")
"""


def _killed(lab: Lab, verb: str, port: int, delay: float) -> None:
    node = lab.node()
    argv = [sys.executable, "-c", _CHILD, verb, node.root, node.state, lab.namespace("victim"), str(port)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None and child.stdin is not None
        assert child.stdout.readline() == b"ready\n"
        child.stdin.write(b"\n")
        child.stdin.flush()
        time.sleep(delay)
        child.kill()


@pytest.mark.parametrize("verb", ["add", "delete"])
@pytest.mark.parametrize("ports", [False, True])
def test_killed_at_many_points_nothing_is_left(lab: Lab, verb: str, ports: bool) -> None:
    network = lab.network()
    keeper = network.add(lab.attachment("keeper"))
    bridge = bridge_of(lab.node())
    chance = random.Random(7)
    longest = 0.1 if ports else 0.03
    for _ in range(12):
        port = free_port() if ports else 0
        if verb == "delete":
            victim = lab.attachment("victim", *((PortMapping(port, 80),) if port else ()))
            network.add(type(victim)("victim", victim.netns, "victim", ports=victim.ports))
        _killed(lab, verb, port, chance.uniform(0, longest))
        network.collect(["id-keeper"])
        assert [record.id for record in network.pending()] == ["id-keeper"]
        assert len(veths(bridge)) == 1
        assert not [line for line in rules_of(bridge) if "victim" in line]
        leases = Path(lab.node().in_root("network", "ipam", bridge)).iterdir()
        assert [entry.name for entry in leases if entry.name[0].isdigit()] == [keeper.ips[0]]


def test_a_cut_off_add_is_done_anew_by_the_next_one(lab: Lab) -> None:
    network = lab.network()
    network.add(lab.attachment("keeper"))
    for delay in (0.004, 0.008, 0.012):
        _killed(lab, "add", 0, delay)
        victim = lab.attachment("victim")
        found = network.add(type(victim)("victim", victim.netns, "victim"))
        assert found.ips
        assert len(veths(bridge_of(lab.node()))) == 2
        network.delete("victim")


@pytest.mark.parametrize("content", ["nobody\r\neth0", ""], ids=["of-nobody", "never-written"])
def test_an_address_without_a_record_is_given_back(lab: Lab, content: str) -> None:
    network = lab.network()
    network.add(lab.attachment("one"))
    folder = Path(lab.node().in_root("network", "ipam", bridge_of(lab.node())))
    lost = folder / "10.90.0.250"
    lost.write_text(content)
    network.collect(["id-one"])
    assert not lost.exists()
    assert len([entry for entry in folder.iterdir() if entry.name[0].isdigit()]) == 1


def test_a_pod_that_starts_during_a_collection_is_spared(lab: Lab) -> None:
    network = lab.network()
    network.add(lab.attachment("one"))

    def live() -> list[str]:
        network.add(lab.attachment("two"))  # comes after the records were read
        return ["id-one"]

    assert network.collect(live) == []
    assert {record.id for record in network.pending()} == {"id-one", "id-two"}
