"""The types bridge, host-local, loopback and portmap in process are what Debian's plugins are: each case runs
on both, each on a machine of its own (a network namespace); all that can be seen is compared. What one made
is checked and removed by the other. Holds the contract of `orlop.network.builtin`."""

from __future__ import annotations

import contextlib
import difflib
import functools
import json
import os
import re
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from orlop.kit import kernel
from orlop.network import loopback, plugin
from orlop.network.builtin import registry
from orlop.network.builtin.call import Call
from orlop.network.plugin import PluginFailed

pytestmark = pytest.mark.host

DEBIAN = ("/usr/lib/cni",)
Runner = Callable[[Call], dict[str, Any]]


def executed(call: Call) -> dict[str, Any]:
    """Debian's program."""
    env = plugin.environment(call.command, DEBIAN, pod_id=call.id, netns=call.netns, interface=call.interface)
    return plugin.execute(plugin.find(call.config["type"], DEBIAN), env, call.config)


def ours(call: Call) -> dict[str, Any]:
    assert registry.serves(call.config)
    return registry.call(call)


class Machine:
    """A machine of its own: everything here happens in its network namespace."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._pins: list[str] = []

    def pod(self, name: str) -> str:
        path = str(self.folder / f"{name}.net")
        if path not in self._pins:
            Path(path).touch()
            in_new_namespace(lambda: kernel.mount("/proc/thread-self/ns/net", path, flags=kernel.MS_BIND))
            self._pins.append(path)
        return path

    def gone(self, name: str) -> None:
        path = str(self.folder / f"{name}.net")
        kernel.umount(path)
        self._pins.remove(path)

    def close(self) -> None:
        for path in self._pins:
            kernel.umount(path)

    def call(self, command: str, config: dict[str, Any], name: str = "one", **more: Any) -> Call:
        given = {"cniVersion": "1.0.0", "name": "lab", **config, **more}
        if "ipam" in given:
            given["ipam"] = {"dataDir": str(self.folder / "leases"), **given["ipam"]}
        return Call(command, given, f"id-{name}", self.pod(name), "eth0", {})

    def leases(self) -> dict[str, bytes]:
        folder = self.folder / "leases" / "lab"
        return {path.name: path.read_bytes() for path in folder.iterdir()} if folder.exists() else {}

    def seen(self, *pods: str) -> dict[str, Any]:
        """All that can be seen from outside, numbers and random names left out."""
        found: dict[str, Any] = {"leases": self.leases(), "rules": rules()}
        for place in ("", *pods):
            path = self.pod(place) if place else ""
            found[place] = [_looked(path, "-d", "address")] + [
                _looked(path, six, "route", "show") for six in ("-4", "-6")
            ]
            found[f"{place} sysctls"] = inside(path, sysctls)
        return found


def in_new_namespace(function: Callable[[], Any]) -> Any:
    return _threaded(lambda: kernel.unshare(kernel.CLONE_NEWNET), function)


def inside(path: str, function: Callable[[], Any]) -> Any:
    if not path:
        return function()

    def enter() -> None:
        with open(path) as stream:
            kernel.setns(stream.fileno(), kernel.CLONE_NEWNET)

    return _threaded(enter, function)


def _threaded(enter: Callable[[], None], function: Callable[[], Any]) -> Any:
    outcome: list[Any] = []
    failure: list[BaseException] = []

    def work() -> None:
        try:
            enter()
            outcome.append(function())
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(120)
    if failure:
        raise failure[0]
    return outcome[0]


def run(*argv: str) -> str:
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout


def links() -> list[str]:
    return sorted(one["ifname"] for one in json.loads(run("ip", "-j", "link")))


def rules() -> list[str]:
    text = run("iptables-save") + run("ip6tables-save")
    return [re.sub(r"\[\d+:\d+\]", "", line) for line in text.splitlines() if not line.startswith("#")]


def sysctls() -> dict[str, str]:
    names = ["ipv4/ip_forward", "ipv6/conf/all/forwarding"]
    found = {}
    for link in os.listdir("/proc/sys/net/ipv4/conf"):
        for key in (
            "ipv4/conf/{}/arp_notify",
            "ipv4/conf/{}/route_localnet",
            "ipv6/conf/{}/accept_dad",
            "ipv6/conf/{}/accept_ra",
            "ipv6/conf/{}/disable_ipv6",
        ):
            names.append(key.format(link))
    for name in names:
        found[re.sub(r"veth\w{8}", "VETH", name)] = Path("/proc/sys/net", name).read_text().strip()
    return found


_CHANGING = {
    "ifindex", "txqlen", "link_index", "link_netnsid", "address", "bridge_id", "root_id", "designated_bridge",
    "gc_timer", "hello_timer", "tcn_timer", "topology_change_timer", "forward_delay_timer", "hold_timer",
    "message_age_timer", "stats64", "designated_root", "topology_change", "topology_change_detected",
}  # fmt: skip


def _looked(path: str, *words: str) -> Any:
    value = json.loads(inside(path, lambda: run("ip", "-j", *words)) or "[]")
    return sorted((_calm(one) for one in value), key=json.dumps)


def _calm(value: Any) -> Any:
    """Without what differs from run to run: MACs and what comes from them, indices, timers."""
    if isinstance(value, dict):
        kept = {key: _calm(item) for key, item in value.items() if key not in _CHANGING}
        kept.pop("tentative", None)
        return kept
    if isinstance(value, list):
        return [_calm(one) for one in value if "fe80::" not in str(one) and one != "tentative"]
    if isinstance(value, str):
        value = re.sub(r"veth[0-9a-f]{8}", "VETH", value)
        return "LINK-LOCAL" if value.startswith("fe80::") else value
    return value


def told(result: dict[str, Any], machine: Machine) -> Any:
    """A result without its MACs and random names, which must be there."""
    text = json.dumps(result, sort_keys=True).replace(str(machine.folder), "FOLDER")
    return json.loads(
        re.sub(r"veth[0-9a-f]{8}\b", "VETH", re.sub(r'"([0-9a-f]{2}:){5}[0-9a-f]{2}"', '"MAC"', text))
    )


@contextlib.contextmanager
def machine(folder: Path) -> Iterator[Machine]:
    folder.mkdir()
    made = Machine(folder)
    try:
        yield made
    finally:
        made.close()


def on(folder: Path, runner: Runner, story: Callable[[Machine, Runner], Any]) -> Any:
    """Tell a story on a fresh machine."""

    def told_there() -> Any:
        loopback.up_here()
        with machine(folder) as made:
            return story(made, runner)

    return in_new_namespace(told_there)


def same(tmp_path: Path, story: Callable[[Machine, Runner], Any]) -> Any:
    theirs = on(tmp_path / "debian", executed, story)
    own = on(tmp_path / "ours", ours, story)
    difference = list(difflib.unified_diff(_lines(theirs), _lines(own), "Debian", "ours", n=4, lineterm=""))
    assert not difference, "\n".join(difference)
    return own


def _lines(value: Any) -> list[str]:
    """What a person can compare."""
    return json.dumps(value, indent=1, sort_keys=True, default=repr).splitlines()


def _ranges(*subnets: str) -> list[list[dict[str, str]]]:
    return [[{"subnet": subnet}] for subnet in subnets]


BRIDGES: dict[str, dict[str, Any]] = {
    "plain": {"ipam": {"subnet": "10.77.1.0/24"}},
    "gateway": {"isGateway": True, "ipam": {"subnet": "10.77.1.0/24", "routes": [{"dst": "0.0.0.0/0"}]}},
    "default gateway, masqueraded": {
        "isDefaultGateway": True,
        "ipMasq": True,
        "hairpinMode": True,
        "ipam": {"ranges": _ranges("10.77.1.0/24"), "routes": [{"dst": "10.99.0.0/16"}]},
    },
    "dual stack": {
        "isDefaultGateway": True,
        "ipMasq": True,
        "ipam": {"ranges": _ranges("10.77.1.0/24", "fd00:77::/64")},
    },
    "promiscuous, small frames, a gateway of its own": {
        "isGateway": True,
        "promiscMode": True,
        "mtu": 1400,
        "ipam": {
            "ranges": [[{"subnet": "10.77.1.0/24", "gateway": "10.77.1.254", "rangeStart": "10.77.1.9"}]],
            "routes": [{"dst": "10.98.0.0/16", "gw": "10.77.1.253"}, {"dst": "0.0.0.0/0"}],
        },
    },
    "asked addresses and MAC": {
        "isGateway": True,
        "runtimeConfig": {"ips": ["10.77.1.40/24"], "mac": "02:00:00:00:00:07"},
        "ipam": {"ranges": _ranges("10.77.1.0/24")},
    },
    "resolver of the configuration": {
        "dns": {"nameservers": ["10.0.0.53"], "search": ["a.test"]},
        "ipam": {"subnet": "10.77.1.0/24"},
    },
}


@pytest.mark.parametrize(
    "name, version",
    [*((name, "1.0.0") for name in BRIDGES), ("dual stack", "0.3.1"), ("dual stack", "0.4.0")],
)
def test_bridge_makes_the_same(tmp_path: Path, name: str, version: str) -> None:
    def story(machine: Machine, runner: Runner) -> Any:
        config = _bridge(name, cniVersion=version)
        first = runner(machine.call("ADD", config, "one"))
        if version != "0.3.1" and runner is ours:  # Debian's 1.1 finds no route without a gateway of its own
            runner(machine.call("CHECK", config, "one", prevResult=first))
        config.pop("runtimeConfig", None)
        second = runner(machine.call("ADD", config, "two"))
        there = machine.seen("one", "two")
        runner(machine.call("DEL", config, "one", prevResult=first))
        runner(machine.call("DEL", config, "one", prevResult=first))
        runner(machine.call("DEL", config, "two"))
        return [told(first, machine), told(second, machine), there, machine.leases(), rules(), links()]

    same(tmp_path, story)


def _bridge(name: str, **more: Any) -> dict[str, Any]:
    config = {"type": "bridge", "bridge": "lab0", **BRIDGES[name], **more}
    config["ipam"] = {"type": "host-local", **config["ipam"]}
    return config


@pytest.mark.parametrize(
    "adds, deletes", [(executed, ours), (ours, executed)], ids=["ours last", "ours first"]
)
def test_each_checks_and_removes_what_the_other_made(tmp_path: Path, adds: Runner, deletes: Runner) -> None:
    def story(machine: Machine, _: Runner) -> None:
        config = _bridge("gateway", hairpinMode=True, ipMasq=True)
        before = rules()
        result = adds(machine.call("ADD", config))
        ports = _portmap(result)
        adds(machine.call("ADD", ports))
        deletes(machine.call("CHECK", config, prevResult=result))
        if deletes is ours:  # Debian's 1.1 looks for rules of IPv6 that nobody has
            deletes(machine.call("CHECK", ports))
        deletes(machine.call("DEL", ports))
        deletes(machine.call("DEL", config, prevResult=result))
        assert "id-one" not in str(rules()) and len(before) < len(rules())  # the shared chains stay
        assert not [name for name in machine.leases() if name[0].isdigit() or ":" in name]
        assert "veth" not in run("ip", "link")

    on(tmp_path / "both", ours, story)


PORTS: dict[str, dict[str, Any]] = {
    "one": {},
    "no source NAT": {"snat": False},
    "another mark": {"markMasqBit": 5},
    "a chain of others marks": {"snat": False, "externalSetMarkChain": "KUBE-MARK-MASQ"},
    "conditions": {"conditionsV4": ["!", "-d", "192.0.2.0/24"], "conditionsV6": ["!", "-d", "fc00::/7"]},
}


def _portmap(result: dict[str, Any], **more: Any) -> dict[str, Any]:
    mappings = [
        {"hostPort": 18080, "containerPort": 80, "protocol": "tcp"},
        {"hostPort": 18081, "containerPort": 81, "protocol": "udp", "hostIP": "127.0.0.1"},
        {"hostPort": 18082, "containerPort": 82, "protocol": "tcp", "hostIP": "0.0.0.0"},
        *({"hostPort": port, "containerPort": port, "protocol": "tcp"} for port in range(19000, 19016)),
    ]
    return {"type": "portmap", "runtimeConfig": {"portMappings": mappings}, "prevResult": result, **more}


@pytest.mark.parametrize("name", PORTS)
def test_portmap_makes_the_same(tmp_path: Path, name: str) -> None:
    def story(machine: Machine, runner: Runner) -> Any:
        bridge = _bridge("dual stack")
        outcomes = []
        for pod in ("one", "two"):
            config = _portmap(runner(machine.call("ADD", bridge, pod)), **PORTS[name])
            outcomes.append(told(runner(machine.call("ADD", config, pod)), machine))
            outcomes.append(machine.seen(pod))
            with contextlib.suppress(PluginFailed):  # Debian's cannot check IPv6 next to IPv4
                runner(machine.call("CHECK", config, pod))
            runner(machine.call("DEL", config, pod))
            runner(machine.call("DEL", config, pod))
            outcomes.append(rules())
        return outcomes

    same(tmp_path, story)


def test_portmap_without_mappings_passes_the_result_on(tmp_path: Path) -> None:
    def story(machine: Machine, runner: Runner) -> Any:
        previous = {"cniVersion": "1.0.0", "ips": [{"address": "10.1.2.3/24"}], "dns": {}}
        return runner(machine.call("ADD", {"type": "portmap", "prevResult": previous})), rules()

    same(tmp_path, story)


def test_check_of_portmap_sees_a_rule_that_is_gone(tmp_path: Path) -> None:
    def story(machine: Machine, runner: Runner) -> None:
        config = _portmap(runner(machine.call("ADD", _bridge("gateway"))))
        runner(machine.call("ADD", config))
        runner(machine.call("CHECK", config))
        run("iptables", "-t", "nat", "-F", "CNI-HOSTPORT-DNAT")
        with pytest.raises(PluginFailed, match="not found"):
            runner(machine.call("CHECK", config))

    on(tmp_path / "ours", ours, story)


def test_loopback_makes_the_same(tmp_path: Path) -> None:
    def story(machine: Machine, runner: Runner) -> Any:
        outcomes: list[Any] = [told(runner(machine.call("ADD", {"type": "loopback"})), machine)]
        runner(machine.call("CHECK", {"type": "loopback"}))
        outcomes.append(machine.seen("one"))
        runner(machine.call("DEL", {"type": "loopback"}))
        return [*outcomes, machine.seen("one")]

    same(tmp_path, story)


IPAM: dict[str, dict[str, Any]] = {
    "two ranges in a set": {
        "ranges": [
            [
                {"subnet": "10.5.0.0/24", "rangeStart": "10.5.0.5", "rangeEnd": "10.5.0.6"},
                {"subnet": "10.5.1.0/30"},
            ]
        ]
    },
    "IPv6 alone": {"subnet": "fd00:5::/125"},
    "one range the old way and a set": {"subnet": "10.5.0.0/29", "ranges": _ranges("10.6.0.0/29")},
    "no range": {},
    "host bits": {"subnet": "10.5.0.1/29"},
    "too small": {"subnet": "10.5.0.0/31"},
    "start outside": {"subnet": "10.5.0.0/29", "rangeStart": "10.6.0.1"},
    "overlapping sets": {"ranges": _ranges("10.5.0.0/24", "10.5.0.0/28")},
    "mixed families": {"ranges": [[{"subnet": "10.5.0.0/24"}, {"subnet": "fd00::/64"}]]},
    "not an address": {"subnet": "10.5.0.0/29", "gateway": "10.5.0.300"},
    "an address outside": {"subnet": "10.5.0.0/29", "ips": ["10.9.0.1"]},
    "the gateway's address": {"subnet": "10.5.0.0/29", "ips": ["10.5.0.1"]},
}


@pytest.mark.parametrize("name", IPAM)
def test_addresses_are_given_in_the_same_turn(tmp_path: Path, name: str) -> None:
    """Until there are none left, and again after some were given back; refusals in the same words."""
    ipam = {"type": "host-local", **IPAM[name]}
    runtime = {"ips": ipam.pop("ips")} if "ips" in ipam else {}

    def story(machine: Machine, runner: Runner) -> Any:
        outcomes: list[Any] = []
        steps = [("ADD", str(n)) for n in range(5)] + [("DEL", "1"), ("DEL", "3"), ("ADD", "6"), ("ADD", "6")]
        for command, pod in steps:
            config = {"type": "bridge", "bridge": "lab0", "ipam": ipam, "runtimeConfig": runtime}
            try:
                result = runner(machine.call(command, config, pod))
                outcomes.append([result.get(key) for key in ("ips", "routes", "dns")])
            except PluginFailed as error:
                outcomes.append((error.cause, error.code) if "ParseIP" not in error.cause else ())
            outcomes.append(machine.leases())
        return outcomes

    if name == "not an address":  # Go's decoder has its own words for it
        for folder, runner in (("debian", executed), ("ours", ours)):
            assert [one for one in on(tmp_path / folder, runner, story) if one and type(one) is list] == []
    else:
        same(tmp_path, story)


def test_a_resolver_file_becomes_the_results_dns(tmp_path: Path) -> None:
    """Debian's bridge 1.1 drops what its host-local says here; the newer one, as ours, keeps it."""
    resolver = tmp_path / "resolv.conf"
    resolver.write_text("# one\nnameserver 10.0.0.1\nsearch a b\noptions ndots:2\ndomain d\nnameserver ::1\n")

    def story(machine: Machine, runner: Runner) -> Any:
        config = _bridge("plain")
        config["ipam"]["resolvConf"] = str(resolver)
        return runner(machine.call("ADD", config))["dns"]

    assert on(tmp_path / "ours", ours, story) == {
        "nameservers": ["10.0.0.1", "::1"],
        "domain": "d",
        "search": ["a", "b"],
        "options": ["ndots:2"],
    }


def test_the_lock_is_that_of_the_plugin(tmp_path: Path) -> None:
    import fcntl
    import time

    def story(machine: Machine, runner: Runner) -> bool:
        config = _bridge("plain")
        runner(machine.call("ADD", config, "one"))
        lock = machine.folder / "leases" / "lab" / "lock"
        with open(lock) as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            late = threading.Thread(target=executed, args=(machine.call("DEL", config, "gone"),))
            late.start()
            time.sleep(0.2)
            waits = late.is_alive()
        late.join(20)
        return waits and lock.stat().st_mode & 0o777 == 0o750

    assert same(tmp_path, story)


def test_del_of_a_namespace_that_is_gone_gives_the_address_back(tmp_path: Path) -> None:
    def story(machine: Machine, runner: Runner) -> Any:
        runner(machine.call("ADD", _bridge("gateway")))
        call = machine.call("DEL", _bridge("gateway"))
        machine.gone("one")
        os.unlink(call.netns)  # Debian's 1.1 refuses a file whose mount is gone
        runner(call)
        runner(Call("DEL", call.config, call.id, "", call.interface))
        return machine.leases()

    same(tmp_path, story)


def test_a_second_add_is_refused_and_takes_nothing(tmp_path: Path) -> None:
    def story(machine: Machine, runner: Runner) -> Any:
        runner(machine.call("ADD", _bridge("gateway")))
        with pytest.raises(PluginFailed, match="already exists"):
            runner(machine.call("ADD", _bridge("gateway")))
        return machine.leases(), machine.seen("one")

    same(tmp_path, story)


def test_a_bridge_with_another_address_is_refused_unless_forced(tmp_path: Path) -> None:
    def refused(machine: Machine, runner: Runner) -> Any:
        run("ip", "link", "add", "lab0", "type", "bridge")
        run("ip", "address", "add", "10.1.1.1/24", "dev", "lab0")
        with pytest.raises(PluginFailed, match="already has an IP address different from"):
            runner(machine.call("ADD", _bridge("gateway")))
        return machine.leases()

    same(tmp_path, refused)

    def forced(machine: Machine, runner: Runner) -> str:
        refused(machine, runner)
        runner(machine.call("DEL", _bridge("gateway")))
        runner(machine.call("ADD", _bridge("gateway", forceAddress=True)))
        return run("ip", "-4", "-o", "address", "show", "dev", "lab0")

    there = on(tmp_path / "forced", ours, forced)  # Debian's 1.1 fails: "could not set bridge's mac"
    assert "10.77.1.1/24" in there and "10.1.1.1" not in there


def test_a_link_that_is_no_bridge_is_refused(tmp_path: Path) -> None:
    def story(machine: Machine, runner: Runner) -> Any:
        run("ip", "link", "add", "lab0", "type", "veth", "peer", "name", "lab1")
        with pytest.raises(PluginFailed, match="is not a bridge"):
            runner(machine.call("ADD", _bridge("gateway")))
        return machine.leases()

    same(tmp_path, story)


@pytest.mark.parametrize(
    "breakage",
    ["ip link delete eth0", "ip link set eth0 address 02:00:00:00:00:09", "ip address flush dev eth0"],
)
def test_check_sees_what_is_not_as_it_was(tmp_path: Path, breakage: str) -> None:
    def story(machine: Machine, runner: Runner) -> None:
        config = _bridge("default gateway, masqueraded")
        result = runner(machine.call("ADD", config))
        inside(machine.pod("one"), lambda: run(*breakage.split()))
        with pytest.raises(PluginFailed):
            runner(machine.call("CHECK", config, prevResult=result))

    same(tmp_path, story)


def test_many_at_once_get_addresses_of_their_own(tmp_path: Path) -> None:
    """Ours and the plugins, mixed, on one machine."""

    def story(machine: Machine, _: Runner) -> None:
        found: list[str] = []
        pods = [f"p{number}" for number in range(12)]
        calls = [machine.call("ADD", _bridge("default gateway, masqueraded"), pod) for pod in pods]

        def attach(number: int) -> None:
            runner = executed if number % 4 == 0 else ours
            found.append(runner(calls[number])["ips"][0]["address"])

        threads = [threading.Thread(target=functools.partial(attach, number)) for number in range(len(pods))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert len(set(found)) == len(pods)
        assert len([line for line in rules() if line.startswith("-A POSTROUTING")]) == len(pods)
        for number, call in enumerate(calls):
            (ours if number % 2 else executed)(Call("DEL", call.config, call.id, call.netns, "eth0"))
        assert not [line for line in rules() if "id-p" in line]

    on(tmp_path / "both", ours, story)


@pytest.mark.parametrize(
    "config",
    [
        {"vlan": 7},
        {"vlanTrunk": [{"id": 7}]},
        {"macspoofchk": True},
        {"portIsolation": True},
        {"disableContainerInterface": True},
        {"ipMasqBackend": "nftables"},
        {"ipam": {"type": "dhcp"}},
        {"ipam": {}},
        {"ipam": {"type": "host-local", "subnet": "10.5.0.0/24", "routes": [{"dst": "0.0.0.0/0", "mtu": 9}]}},
        {"ipMasq": "yes"},
        {"IsGateway": True},
        {"mtu": True},
        {"something": "new"},
    ],
    ids=lambda config: next(iter(config)),
)
def test_what_is_not_implemented_is_the_programs(config: dict[str, Any]) -> None:
    ordinary = {"type": "bridge", "vlan": 0, "macspoofchk": False, "ipam": {"type": "host-local"}}
    assert registry.serves(ordinary)
    assert not registry.serves({**ordinary, **config})


def test_nftables_rules_of_portmap_are_the_programs() -> None:
    assert registry.serves({"type": "portmap", "backend": "iptables"})
    assert not registry.serves({"type": "portmap", "backend": "nftables"})
    assert not registry.serves({"type": "portmap", "conditionsV4": ["-m", "comment", "--comment", "a b"]})
    assert not registry.serves({"type": "tuning"}) and not registry.serves({"type": "bridge"}, ())
