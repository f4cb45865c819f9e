"""The files that a pod's containers share."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from orlop.kit.errors import InvalidInput
from orlop.kit.node import Node
from orlop.network.model import Addresses
from orlop.pod import etc
from orlop.pod.model import DNS, SandboxConfig

CONFIG = SandboxConfig("web", "uid")


def test_hosts_names_the_pod_at_each_of_its_addresses_and_then_the_aliases() -> None:
    config = replace(CONFIG, hostname="front", host_aliases=(("192.0.2.7", ("db", "db.local")),))
    lines = etc.hosts(config, Addresses(ips=("10.90.0.2", "fd00::2"))).splitlines()
    assert "127.0.0.1\tlocalhost" in lines
    assert "10.90.0.2\tfront" in lines
    assert "fd00::2\tfront" in lines
    assert lines[-1] == "192.0.2.7\tdb db.local"


def test_the_pods_own_dns_comes_before_the_networks_and_that_before_the_machines() -> None:
    network = Addresses(nameservers=("10.0.0.1",), searches=("lan",))
    own = replace(CONFIG, dns=DNS(("192.0.2.1",), ("a.example", "b.example"), ("ndots:5",)))
    assert etc.resolv_conf(own, network) == (
        "search a.example b.example\nnameserver 192.0.2.1\noptions ndots:5\n"
    )
    assert etc.resolv_conf(CONFIG, network) == "search lan\nnameserver 10.0.0.1\n"


def test_the_machines_loopback_servers_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine, resolved = tmp_path / "resolv.conf", tmp_path / "resolved"
    machine.write_text("search x\nnameserver 127.0.0.53\nnameserver 192.0.2.53\n")
    monkeypatch.setattr(etc, "_MACHINE", str(machine))
    monkeypatch.setattr(etc, "_RESOLVED", str(resolved))
    assert etc.resolv_conf(CONFIG, Addresses()) == "search x\nnameserver 192.0.2.53\n"
    machine.write_text("nameserver 127.0.0.53\n")
    resolved.write_text("nameserver 192.0.2.1\n")
    assert etc.resolv_conf(CONFIG, Addresses()) == "nameserver 192.0.2.1\n"
    with_host = replace(CONFIG, network="host")
    assert etc.resolv_conf(with_host, Addresses()) == "nameserver 127.0.0.53\n"


def test_files_are_rewritten_in_place_so_that_bind_mounts_see_it(tmp_path: Path) -> None:
    node = Node(str(tmp_path / "r"), str(tmp_path / "s"))
    etc.write(node, "id", CONFIG, Addresses())
    hosts = Path(etc.folder(node, "id"), "hosts")
    before = os.stat(hosts).st_ino
    etc.write(node, "id", CONFIG, Addresses(ips=("10.90.0.9",)))
    assert os.stat(hosts).st_ino == before
    assert "10.90.0.9" in hosts.read_text()
    etc.remove(node, "id")
    etc.remove(node, "id")
    assert not hosts.exists()


@pytest.mark.parametrize(
    "config",
    [
        replace(CONFIG, host_aliases=(("1.2.3", ("x",)),)),
        replace(CONFIG, host_aliases=(("192.0.2.1", ("x\n127.0.0.1 bank",)),)),
        replace(CONFIG, host_aliases=(("192.0.2.1", ()),)),
        replace(CONFIG, dns=DNS(servers=("name.example",))),
        replace(CONFIG, dns=DNS(searches=("a\nnameserver 1.1.1.1",))),
        replace(CONFIG, hostname="a b"),
    ],
)
def test_what_would_break_a_line_is_refused(config: SandboxConfig) -> None:
    with pytest.raises(InvalidInput):
        etc.validate(config)


def test_a_long_pod_name_makes_a_valid_host_name() -> None:
    assert etc.hostname(SandboxConfig("a" * 62 + "-" + "b" * 40, "uid")) == "a" * 62
