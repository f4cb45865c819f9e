"""The node's own bridge network, with Debian's plugins."""

from __future__ import annotations

import ipaddress
import json
import os
import socket
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from orlop.kit.errors import Conflict, InvalidInput, LimitExceeded, NotFound
from orlop.network.model import Attachment, PortMapping
from orlop.network.settings import NetworkSettings
from tests.network.conftest import (
    Lab,
    bridge_of,
    eventually,
    free_port,
    heard,
    in_namespace,
    iptables,
    rules_of,
    serving,
    veths,
)

pytestmark = pytest.mark.host


def test_a_pod_gets_an_address_that_the_machine_and_other_pods_reach(lab: Lab) -> None:
    network = lab.network()
    one, two = lab.attachment("one"), lab.attachment("two")
    first, second = network.add(one), network.add(two)
    assert first.ips != second.ips and first.gateways == second.gateways
    assert first.mac.count(":") == 5
    with serving(one.netns, 8000, b"one"):
        assert heard(first.ips[0], 8000) == b"one"
        assert heard(first.ips[0], 8000, two.netns) == b"one"
    network.check(one.id)


def test_asked_twice_a_pod_keeps_its_address(lab: Lab) -> None:
    network = lab.network()
    one = lab.attachment("one")
    assert network.add(one) == network.add(one)
    assert len(veths(bridge_of(lab.node()))) == 1


def test_a_pod_without_ports_costs_no_iptables_rule_of_its_own(lab: Lab) -> None:
    network = lab.network()
    network.add(lab.attachment("one"))
    before = rules_of(bridge_of(lab.node()))
    network.add(lab.attachment("two"))
    assert rules_of(bridge_of(lab.node())) == before


def test_delete_gives_everything_back_and_is_harmless_when_repeated(lab: Lab) -> None:
    network = lab.network()
    one = lab.attachment("one", PortMapping(free_port(), 80))
    network.add(one)
    network.delete(one.id)
    network.delete(one.id)
    assert network.pending() == [] and veths(bridge_of(lab.node())) == []
    assert not _leases(lab)
    assert not [line for line in rules_of(bridge_of(lab.node())) if one.id in line]
    with pytest.raises(NotFound, match="attached to no network"):
        network.check(one.id)


def test_delete_works_when_the_namespace_is_gone(lab: Lab) -> None:
    network = lab.network()
    one = lab.attachment("one", PortMapping(free_port(), 80))
    network.add(one)
    lab.unpin(one.netns)
    network.delete(one.id)
    assert network.pending() == [] and not _leases(lab)
    assert not [line for line in rules_of(bridge_of(lab.node())) if one.id in line]


def test_a_namespace_kept_alive_by_a_process_loses_its_link_all_the_same(lab: Lab) -> None:
    network = lab.network()
    one = lab.attachment("one")
    network.add(one)
    keeper = in_namespace(one.netns, lambda: socket.socket())  # a socket keeps its namespace
    lab.unpin(one.netns)
    network.delete(one.id)
    assert veths(bridge_of(lab.node())) == []
    keeper.close()


def test_teardown_leaves_no_bridge_and_no_rule(lab: Lab) -> None:
    network = lab.network()
    one = lab.attachment("one", PortMapping(free_port(), 80))
    network.add(one)
    with pytest.raises(Conflict, match="in use by default/one"):
        network.teardown()
    network.delete(one.id)
    bridge = bridge_of(lab.node())
    assert os.path.exists(f"/sys/class/net/{bridge}")
    network.teardown()
    network.teardown()
    assert not os.path.exists(f"/sys/class/net/{bridge}")
    assert bridge not in iptables()
    assert not os.path.exists(lab.node().in_root("network", "ipam"))


def test_a_node_whose_root_was_deleted_leaves_nothing_after_the_next_teardown(lab: Lab) -> None:
    one = lab.attachment("one")
    lab.network("lost").add(one)
    lab.network("other").add(lab.attachment("two"))
    bridge = bridge_of(lab.node("lost"))
    subprocess.run(["rm", "-r", lab.node("lost").root], check=True)
    lab.network("third").teardown()
    assert len(veths(bridge)) == 1 and rules_of(bridge)  # a pod is on it still
    lab.unpin(one.netns)
    eventually(lambda: veths(bridge) == [])
    lab.network("third").teardown()
    assert not os.path.exists(f"/sys/class/net/{bridge}") and not rules_of(bridge)
    assert rules_of(bridge_of(lab.node("other")))


def test_a_teardown_needs_no_record(lab: Lab) -> None:
    network = lab.network()
    network.add(lab.attachment("one"))
    network.delete("id-one")
    subprocess.run(["rm", "-r", lab.node().root, lab.node().state], check=True)
    network.teardown()
    bridge = bridge_of(lab.node())
    assert not os.path.exists(f"/sys/class/net/{bridge}") and not rules_of(bridge)


def test_the_network_comes_back_after_a_reboot(lab: Lab) -> None:
    network = lab.network()
    one = lab.attachment("one")
    before = network.add(one)
    bridge = bridge_of(lab.node())
    subprocess.run(["ip", "link", "delete", bridge], check=True)  # what a reboot forgets: links, rules ...
    for line in [entry for entry in iptables().splitlines() if bridge in entry and entry.startswith("-A")]:
        table = "nat" if "POSTROUTING" in line else "filter"
        subprocess.run(["iptables", "-t", table, "-D", *line.replace('"', "").split()[1:]], check=True)
    subprocess.run(["rm", "-r", lab.node().state], check=True)  # ... and the state folder
    assert [record.id for record in network.pending()] == [one.id]
    network.collect([])
    again = network.add(lab.attachment("two"))
    assert again.gateways == before.gateways
    assert iptables().count(f'"orlop:{bridge}"') == 3


def test_several_nodes_live_side_by_side(lab: Lab) -> None:
    names = ["a", "b", "c"]
    with ThreadPoolExecutor() as pool:
        found = list(pool.map(lambda name: lab.network(name).add(lab.attachment(name)), names))
    subnets = {ipaddress.ip_network(f"{addresses.ips[0]}/24", strict=False) for addresses in found}
    assert len(subnets) == len({bridge_of(lab.node(name)) for name in names}) == 3


def test_a_pool_that_clashes_with_the_machine_is_left_for_the_next_free_part(lab: Lab) -> None:
    used = lab.network("a").add(lab.attachment("a")).ips[0]
    pool = str(ipaddress.ip_network(f"{used}/23", strict=False))
    other = lab.network("b", NetworkSettings(subnet=pool)).add(lab.attachment("b")).ips[0]
    assert other.rpartition(".")[0] != used.rpartition(".")[0]
    with pytest.raises(LimitExceeded, match="overlaps"):
        lab.network("c", NetworkSettings(subnet=pool)).add(lab.attachment("c"))


@pytest.mark.parametrize("subnet", ["10.90.0.1/16", "nonsense", "fd00::/64", "10.0.0.0/31"])
def test_a_bad_pool_is_refused(lab: Lab, subnet: str) -> None:
    with pytest.raises(InvalidInput, match="subnet"):
        lab.network(settings=NetworkSettings(subnet=subnet)).add(lab.attachment("one"))


def test_many_pods_at_once_get_addresses_of_their_own(lab: Lab) -> None:
    network = lab.network()
    pods = [lab.attachment(f"p{number}") for number in range(12)]
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(network.add, pods))
    assert len({addresses.ips[0] for addresses in found}) == 12
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda pod: network.delete(pod.id), pods))
    assert network.pending() == [] and not _leases(lab)


def test_a_host_port_is_reached_on_loopback_by_address_and_from_the_pod_itself(lab: Lab) -> None:
    network = lab.network()
    port = free_port()
    one, two = lab.attachment("one", PortMapping(port, 8000)), lab.attachment("two")
    gateway = network.add(one).gateways[0]
    network.add(two)
    with serving(one.netns, 8000, b"hello"):
        assert heard("127.0.0.1", port) == b"hello"
        assert heard(gateway, port) == b"hello"
        assert heard(gateway, port, two.netns) == b"hello"
        assert heard(gateway, port, one.netns) == b"hello"  # hairpin


def test_a_host_port_is_given_once(lab: Lab) -> None:
    network = lab.network()
    port = free_port()
    network.add(lab.attachment("one", PortMapping(port, 80)))
    with pytest.raises(Conflict, match="held by pod default/one"):
        network.add(lab.attachment("two", PortMapping(port, 81)))
    network.add(lab.attachment("three", PortMapping(port, 80, "udp")))
    network.delete("id-one")
    network.add(lab.attachment("two", PortMapping(port, 81)))


def test_a_host_port_of_another_node_is_seen(lab: Lab) -> None:
    port = free_port()
    lab.network("a").add(lab.attachment("one", PortMapping(port, 80)))
    with pytest.raises(Conflict, match=r"forwarded already.*id-one"):
        lab.network("b").add(lab.attachment("two", PortMapping(port, 80)))


def test_a_host_port_of_a_process_is_seen_and_nothing_is_left_behind(lab: Lab) -> None:
    network = lab.network()
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(Conflict, match="in use by a process") as caught:
            network.add(lab.attachment("one", PortMapping(port, 80)))
    assert str(port) in caught.value.hint
    assert network.pending() == []


@pytest.mark.parametrize(
    "port", [PortMapping(0, 80), PortMapping(80, 70000), PortMapping(80, 80, "icmp"), PortMapping(-1, 1)]
)
def test_a_port_that_is_none_is_refused(lab: Lab, port: PortMapping) -> None:
    with pytest.raises(InvalidInput, match="not a port mapping"):
        lab.network().add(lab.attachment("one", port))


def test_an_address_and_a_mac_can_be_asked_for(lab: Lab) -> None:
    network = lab.network()
    first = network.add(lab.attachment("one")).ips[0]
    wanted = first.rpartition(".")[0] + ".77"
    asked = Attachment("id-two", lab.namespace("two"), "two", ips=(f"{wanted}/24",), mac="02:11:22:33:44:55")
    got = network.add(asked)
    assert got.ips == (wanted,) and got.mac == "02:11:22:33:44:55"


def test_what_no_plugin_offers_is_refused_by_name(lab: Lab) -> None:
    asked = Attachment("id", lab.namespace("one"), "one", capabilities={"bandwidth": {"ingressRate": 1}})
    with pytest.raises(InvalidInput, match="bandwidth, which no plugin"):
        lab.network().add(asked)


@pytest.mark.parametrize(
    "bad",
    [
        Attachment("../x", "/proc/self/ns/net", "n"),
        Attachment("", "/proc/self/ns/net", "n"),
        Attachment("id", "/proc/self/ns/net", "n;IgnoreUnknown=0"),
        Attachment("id", "/proc/self/ns/net", "n", interface="a/b"),
        Attachment("id", "/proc/self/ns/net", "n", interface="a" * 16),
    ],
)
def test_names_that_would_escape_are_refused(lab: Lab, bad: Attachment) -> None:
    with pytest.raises(InvalidInput):
        lab.network().add(bad)


def test_a_namespace_that_is_none_is_refused(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (str(tmp_path / "file"), str(tmp_path / "absent")):
        with pytest.raises(NotFound, match="not a pinned network namespace"):
            lab.network().add(Attachment("id", path, "n"))


def test_the_record_is_as_libcni_keeps_it(lab: Lab) -> None:
    network = lab.network()
    network.add(lab.attachment("one"))
    bridge = bridge_of(lab.node())
    record = json.loads(
        Path(lab.node().in_root("network", "attachments", f"{bridge}-id-one-eth0")).read_text()
    )
    assert record["kind"] == "cniCacheV1" and record["ifName"] == "eth0"
    assert ["K8S_POD_NAME", "one"] in record["cniArgs"]
    assert record["result"]["ips"]


def _leases(lab: Lab) -> list[str]:
    folder = Path(lab.node().in_root("network", "ipam", bridge_of(lab.node())))
    return [entry.name for entry in folder.iterdir() if entry.name[0].isdigit()]
