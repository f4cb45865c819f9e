"""Administrators' own configurations, and plugins of third parties: real programs, written here."""

from __future__ import annotations

import json
import os
import socket
import sys
from pathlib import Path
from typing import Any

import pytest

from orlop.kit.errors import InvalidInput, NotFound, TimedOut, Unsupported
from orlop.network import versions
from orlop.network.conflist import NetworkList
from orlop.network.model import Attachment, PortMapping
from orlop.network.network import Network
from orlop.network.plugin import PluginFailed
from orlop.network.settings import NetworkSettings
from tests.network.conftest import Lab, free_port, heard, in_namespace, iptables, serving

pytestmark = pytest.mark.host

DEBIAN = "/usr/lib/cni"

#: Writes down each call, does what the file `behaviour.json` beside it says, and returns a fixed result.
_PLUGIN = """#!{python} -IS
import json, os, sys
here = os.path.dirname(os.path.abspath(__file__))
name = os.path.basename(__file__)
behaviour = json.load(open(here + "/behaviour.json")).get(name, {{}})
command = os.environ["CNI_COMMAND"]
config = json.load(sys.stdin)
if command == "VERSION":
    with open(here + "/asked", "a") as stream:
        stream.write(name + "\\n")
    spoken = behaviour.get("versions", ["0.4.0", "1.0.0"])
    print(json.dumps({{"cniVersion": "1.0.0", "supportedVersions": spoken}}))
    sys.exit()
with open(here + "/calls", "a") as stream:
    stream.write(json.dumps({{"plugin": name, "command": command, "config": config,
                              "env": {{k: v for k, v in os.environ.items()}}}}) + "\\n")
left = behaviour.get("fail", {{}}).get(command, 0)
failed = here + "/failed-" + name + command
times = os.path.getsize(failed) if os.path.exists(failed) else 0
if times < left:
    open(failed, "a").write("x")
    if behaviour.get("plain"):
        print("something is very wrong", file=sys.stderr)
        sys.exit(3)
    print(json.dumps({{"cniVersion": config["cniVersion"], "code": behaviour.get("code", 100),
                       "msg": "no", "details": "not today"}}))
    sys.exit(1)
if command == "ADD":
    result = dict(config.get("prevResult") or behaviour.get("result") or {{
        "interfaces": [{{"name": "eth0", "sandbox": os.environ["CNI_NETNS"], "mac": "02:00:00:00:00:01"}}],
        "ips": [{{"address": "192.0.2.7/24", "gateway": "192.0.2.1", "interface": 0}}]}})
    result.setdefault("cniVersion", config["cniVersion"])
    print(json.dumps(result))
"""


class Plugins:
    """A folder of third parties' plugins and one of configurations."""

    def __init__(self, lab: Lab) -> None:
        self.bin = lab.folder / "bin"
        self.conf = lab.folder / "net.d"
        self.bin.mkdir()
        self.conf.mkdir()
        self.settings = NetworkSettings(plugin_dirs=(str(self.bin), DEBIAN), config_dir=str(self.conf))

    def install(self, **behaviours: dict[str, Any]) -> None:
        (self.bin / "behaviour.json").write_text(json.dumps(behaviours))
        for name in behaviours:
            path = self.bin / name
            if not path.exists():
                path.write_text(_PLUGIN.format(python=sys.executable))
                path.chmod(0o755)

    def configure(self, *plugins: dict[str, Any], version: str = "1.0.0", **more: object) -> None:
        value = {"cniVersion": version, "name": "lab", "plugins": plugins, **more}
        (self.conf / "10-lab.conflist").write_text(json.dumps(value))

    def calls(self) -> list[dict[str, Any]]:
        path = self.bin / "calls"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def verbs(self) -> list[tuple[str, str]]:
        return [(call["command"], call["plugin"]) for call in self.calls()]


@pytest.fixture
def plugins(lab: Lab) -> Plugins:
    return Plugins(lab)


def test_a_chain_runs_in_order_and_backwards_with_what_the_specification_asks(
    lab: Lab, plugins: Plugins
) -> None:
    plugins.install(first={}, second={})
    plugins.configure(
        {"type": "first", "own": {"key": 1}, "capabilities": {"portMappings": True}},
        {"type": "second", "capabilities": {"bandwidth": True, "portMappings": False}},
    )
    network = lab.network(settings=plugins.settings)
    asked = Attachment(
        "id-1",
        lab.namespace("one"),
        "web",
        namespace="shop",
        uid="u-1",
        ports=(PortMapping(free_port(), 80),),
        capabilities={"bandwidth": {"ingressRate": 1}},
    )
    found = network.add(asked)
    assert (found.ips, found.gateways, found.mac) == (("192.0.2.7",), ("192.0.2.1",), "02:00:00:00:00:01")
    network.check("id-1")
    network.delete("id-1")
    assert plugins.verbs() == [
        ("ADD", "first"),
        ("ADD", "second"),
        ("CHECK", "first"),
        ("CHECK", "second"),
        ("DEL", "second"),
        ("DEL", "first"),
    ]
    first, second, *later = (call["config"] for call in plugins.calls())
    assert first["own"] == {"key": 1} and "capabilities" not in first and "prevResult" not in first
    assert (first["name"], first["cniVersion"]) == ("lab", "1.0.0")
    assert set(first["runtimeConfig"]) == {"portMappings"} and set(second["runtimeConfig"]) == {"bandwidth"}
    assert second["prevResult"]["ips"] and all(config["prevResult"]["ips"] for config in later)
    env = plugins.calls()[0]["env"]
    assert env["CNI_ARGS"] == (
        "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web;"
        "K8S_POD_INFRA_CONTAINER_ID=id-1;K8S_POD_UID=u-1"
    )
    assert env["CNI_PATH"] == f"{plugins.bin}:{DEBIAN}" and env["CNI_IFNAME"] == "eth0"
    assert not {key for key in env if not key.startswith("CNI_")} - {"PATH", "LANG", "LC_CTYPE"}


def test_a_failed_add_is_followed_by_del(lab: Lab, plugins: Plugins) -> None:
    plugins.install(first={}, second={"fail": {"ADD": 1}, "code": 7})
    plugins.configure({"type": "first"}, {"type": "second"})
    network = lab.network(settings=plugins.settings)
    with pytest.raises(PluginFailed, match="second of network lab: no: not today") as caught:
        network.add(lab.attachment("one"))
    assert caught.value.code == 7 and "configuration" in caught.value.hint
    assert plugins.verbs() == [("ADD", "first"), ("ADD", "second"), ("DEL", "second"), ("DEL", "first")]
    assert network.pending() == []


def test_a_plugin_without_an_error_object_is_quoted(lab: Lab, plugins: Plugins) -> None:
    plugins.install(first={"fail": {"ADD": 1}, "plain": True})
    plugins.configure({"type": "first"})
    with pytest.raises(PluginFailed, match="exit status 3: something is very wrong"):
        lab.network(settings=plugins.settings).add(lab.attachment("one"))


def test_del_is_repeated_until_it_succeeds(lab: Lab, plugins: Plugins) -> None:
    plugins.install(first={"fail": {"DEL": 5}, "code": 11})
    plugins.configure({"type": "first"})
    network = lab.network(settings=plugins.settings)
    one = lab.attachment("one")
    network.add(one)
    with pytest.raises(PluginFailed) as caught:
        network.delete(one.id)
    assert caught.value.hint == "try again later"
    assert [record.deleting for record in network.pending()] == [True]
    assert lab.network(settings=plugins.settings).collect([one.id]) == [one.id]  # wanted gone, so not spared
    assert network.pending() == []
    assert len([verb for verb, _ in plugins.verbs() if verb == "DEL"]) == 6


def test_del_uses_the_recorded_configuration_when_the_file_changed(lab: Lab, plugins: Plugins) -> None:
    plugins.install(first={}, second={})
    plugins.configure({"type": "first", "own": "old"})
    network = lab.network(settings=plugins.settings)
    network.add(lab.attachment("one"))
    plugins.configure({"type": "second"})
    network.delete("id-one")
    assert plugins.verbs()[-1] == ("DEL", "first") and plugins.calls()[-1]["config"]["own"] == "old"


def test_a_namespace_that_is_gone_is_not_passed_on(lab: Lab, plugins: Plugins) -> None:
    plugins.install(first={})
    plugins.configure({"type": "first"})
    network = lab.network(settings=plugins.settings)
    one = lab.attachment("one")
    network.add(one)
    lab.unpin(one.netns)
    network.delete(one.id)
    assert plugins.calls()[-1]["env"]["CNI_NETNS"] == ""


def test_a_pod_in_a_new_namespace_is_detached_and_attached_anew(lab: Lab, plugins: Plugins) -> None:
    plugins.install(first={})
    plugins.configure({"type": "first"})
    network = lab.network(settings=plugins.settings)
    one = lab.attachment("one")
    network.add(one)
    network.add(one)
    assert [verb for verb, _ in plugins.verbs()] == ["ADD"]
    keep = in_namespace(one.netns, socket.socket)  # or the kernel gives the next one the same inode
    lab.unpin(one.netns)
    network.add(lab.attachment("one"))
    keep.close()
    assert [verb for verb, _ in plugins.verbs()] == ["ADD", "DEL", "ADD"]


@pytest.mark.parametrize(("version", "verbs"), [("0.3.1", 0), ("0.4.0", 1)])
def test_check_is_left_out_where_the_version_has_none(
    lab: Lab, plugins: Plugins, version: str, verbs: int
) -> None:
    plugins.install(first={"versions": ["0.3.1", "0.4.0"]})
    plugins.configure({"type": "first"}, version=version)
    network = lab.network(settings=plugins.settings)
    network.add(lab.attachment("one"))
    network.check("id-one")
    network.delete("id-one")
    assert len([verb for verb, _ in plugins.verbs() if verb == "CHECK"]) == verbs
    assert ("prevResult" in plugins.calls()[-1]["config"]) == (version == "0.4.0")


def test_disable_check_is_honoured(lab: Lab, plugins: Plugins) -> None:
    plugins.install(first={"fail": {"CHECK": 9}})
    plugins.configure({"type": "first"}, disableCheck=True)
    network = lab.network(settings=plugins.settings)
    network.add(lab.attachment("one"))
    network.check("id-one")


def test_the_highest_common_version_is_taken_and_plugins_are_asked_once(lab: Lab, plugins: Plugins) -> None:
    plugins.install(
        first={"versions": ["0.3.1", "0.4.0", "1.0.0", "1.1.0"]}, second={"versions": ["0.4.0", "1.0.0"]}
    )
    plugins.configure(
        {"type": "first"}, {"type": "second"}, version="0.4.0", cniVersions=["0.4.0", "1.0.0", "1.1.0", "9.0"]
    )
    network = lab.network(settings=plugins.settings)
    for name in ("one", "two"):
        network.add(lab.attachment(name))
    assert plugins.calls()[0]["config"]["cniVersion"] == "1.0.0"
    assert (plugins.bin / "asked").read_text().split() == ["first", "second"]
    os.utime(plugins.bin / "first", (1, 1))  # another build of it
    network.add(lab.attachment("three"))
    assert (plugins.bin / "asked").read_text().split() == ["first", "second", "first"]


def test_versions_without_a_common_one_are_named(lab: Lab, plugins: Plugins) -> None:
    plugins.install(first={"versions": ["0.3.1"]})
    plugins.configure({"type": "first"}, version="1.0.0")
    with pytest.raises(Unsupported, match="first speaks CNI 0"):
        lab.network(settings=plugins.settings).add(lab.attachment("one"))


def test_debians_plugins_are_asked_for_their_versions(lab: Lab) -> None:
    network = NetworkList("x", ("0.4.0", "1.0.0", "1.1.0"), ({"type": "bridge"}, {"type": "portmap"}))
    assert versions.choose(network, (DEBIAN,), str(lab.folder / "state" / "cache")) in ("1.0.0", "1.1.0")


def test_gc_and_status_reach_plugins_that_know_them(lab: Lab, plugins: Plugins) -> None:
    plugins.install(first={"versions": ["1.1.0"], "fail": {"STATUS": 1}, "code": 50})
    plugins.configure({"type": "first"}, version="1.1.0")
    network = lab.network(settings=plugins.settings)
    network.add(lab.attachment("one"))
    network.add(lab.attachment("two"))
    assert network.collect(["id-two"]) == ["id-one"]
    gc = plugins.calls()[-1]
    assert gc["command"] == "GC"
    assert gc["config"]["cni.dev/valid-attachments"] == [{"containerID": "id-two", "ifname": "eth0"}]
    with pytest.raises(PluginFailed) as caught:
        network.status()
    assert caught.value.code == 50
    network.status()


def test_disable_gc_is_honoured(lab: Lab, plugins: Plugins) -> None:
    plugins.install(first={"versions": ["1.1.0"]})
    plugins.configure({"type": "first"}, version="1.1.0", disableGC=True)
    lab.network(settings=plugins.settings).collect([])
    assert plugins.verbs() == []


def test_an_absent_plugin_says_where_it_was_looked_for(lab: Lab, plugins: Plugins) -> None:
    plugins.configure({"type": "nowhere"})
    with pytest.raises(NotFound, match=f"is in none of {plugins.bin}, {DEBIAN}"):
        lab.network(settings=plugins.settings).add(lab.attachment("one"))


def test_a_port_that_no_plugin_forwards_is_refused(lab: Lab, plugins: Plugins) -> None:
    plugins.install(first={})
    plugins.configure({"type": "first"})
    with pytest.raises(InvalidInput, match="portMappings, which no plugin of network lab offers"):
        lab.network(settings=plugins.settings).add(lab.attachment("one", PortMapping(free_port(), 80)))


def test_a_plugin_that_hangs_is_ended_and_del_follows(
    lab: Lab, plugins: Plugins, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orlop.kit.limits.CNI_TIMEOUT", 0.5)
    path = plugins.bin / "slow"
    path.write_text(
        '#!/bin/sh\ncase $CNI_COMMAND in VERSION) echo \'{"supportedVersions": ["1.0.0"]}\';;\n'
        "ADD) sleep 60;; esac\n"
    )
    path.chmod(0o755)
    plugins.configure({"type": "slow"})
    network: Network = lab.network(settings=plugins.settings)
    with pytest.raises(TimedOut):
        network.add(lab.attachment("one"))
    assert network.pending() == []


def test_a_dual_stack_network_with_ip_masq_works_and_is_removed_whole(lab: Lab, plugins: Plugins) -> None:
    name = "orlt" + os.urandom(3).hex()
    value = {
        "cniVersion": "0.4.0",
        "name": name,
        "plugins": [
            {
                "type": "bridge",
                "bridge": name,
                "isGateway": True,
                "ipMasq": True,
                "ipam": {
                    "type": "host-local",
                    "dataDir": str(lab.folder / "ipam"),
                    "ranges": [[{"subnet": "10.91.250.0/24"}], [{"subnet": "fd00:91:250::/64"}]],
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": True}},
            {"type": "tuning"},
        ],
    }
    (plugins.conf / "10.conflist").write_text(json.dumps(value))
    network = lab.network(settings=plugins.settings)
    port = free_port()
    one = lab.attachment("one", PortMapping(port, 80))
    try:
        found = network.add(one)
        assert found.ips == ("10.91.250.2", "fd00:91:250::2")
        with serving(one.netns, 80, b"six", host="::"):
            assert heard("127.0.0.1", port) == b"six"
        lab.unpin(one.netns)  # the bridge plugin by itself would leave its chains now
        network.delete(one.id)
        assert name not in iptables()
    finally:
        os.system(f"ip link delete {name}")


def test_a_broken_record_is_named(lab: Lab, plugins: Plugins) -> None:
    from orlop.kit.errors import Corrupt

    folder = Path(lab.node().in_root("network", "attachments"))
    folder.mkdir(parents=True)
    (folder / "lab-x-eth0").write_text("{")
    with pytest.raises(Corrupt, match="lab-x-eth0"):
        lab.network(settings=plugins.settings).pending()
    (folder / "lab-x-eth0").unlink()
