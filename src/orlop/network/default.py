"""The node's own network: a bridge made at first use, a /24 that clashes with nothing, three iptables rules.

What was chosen is kept in <root>/network/default.json; that the rules were made since this boot, in
<state>/network/ready.json. Nodes of one machine agree under one lock, in /run/lock/orlop.
"""

from __future__ import annotations

import contextlib
import json
import os

from orlop.kit import files, limits, locks, process
from orlop.kit.errors import InvalidInput, LimitExceeded, TimedOut
from orlop.kit.node import Node, boot_id
from orlop.network.conflist import VERSIONS, NetworkList
from orlop.network.settings import NetworkSettings

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    Description = dict[str, Any]  # bridge, subnet, mtu

#: Shared by all nodes of the machine: the lock, the subnets taken, who made portmap's shared chains.
MACHINE = "/run/lock/orlop"


class DefaultNetwork:
    """One node's own network."""

    def __init__(self, node: Node, settings: NetworkSettings) -> None:
        self._node = node
        self._settings = settings
        self._chosen = node.in_root("network", "default.json")
        self._ready = node.in_state("network", "ready.json")
        self.leases = node.in_root("network", "ipam")
        self.bridge = _bridge_name(node)

    def network(self, *, ports: bool) -> NetworkList:
        """The list for one attachment. `ports`: with portmap, which costs a pod without any 30 ms."""
        chosen = self._ensured()
        bridge: dict[str, Any] = {
            "type": "bridge",
            "bridge": chosen["bridge"],
            "isGateway": True,
            "hairpinMode": True,
            "ipam": {
                "type": "host-local",
                "dataDir": self.leases,
                "ranges": [[{"subnet": chosen["subnet"]}]],
                "routes": [{"dst": "0.0.0.0/0"}],
            },
            "capabilities": {"ips": True, "mac": True},
        }
        if chosen["mtu"]:
            bridge["mtu"] = chosen["mtu"]
        portmap = {"type": "portmap", "capabilities": {"portMappings": True}}
        return NetworkList(
            name=chosen["bridge"],
            versions=VERSIONS[VERSIONS.index("0.4.0") :],
            plugins=(bridge, portmap) if ports else (bridge,),
        )

    def remove(self) -> None:
        """The bridge, its rules and its records are gone. The caller has seen that nothing is attached.

        So are the networks of nodes whose root somebody has deleted.
        """
        with machine():
            _unmake(self.bridge)
            _unlink(self._ready)
            files.remove_tree(self.leases)
            _unlink(_registered(self.bridge))
            _unlink(self._chosen)
            for bridge, entry in _registry().items():
                if not _alive(entry) and not _members(bridge):
                    _unmake(bridge)
                    _unlink(_registered(bridge))

    def _ensured(self) -> Description:
        """The network's description; its rules exist since this boot."""
        ready = _read(self._ready)
        if ready is not None and ready.get("boot") == boot_id() and os.path.exists(self._chosen):
            return ready
        with machine():
            chosen = _read(self._chosen)
            if chosen is None:
                chosen = self._choose()
                files.make_folder(os.path.dirname(self._chosen))
                files.write_atomic(self._chosen, json.dumps(chosen).encode())
            self._make(chosen)
        return chosen

    def _make(self, chosen: Description) -> None:
        from orlop.network import rules

        registered = json.dumps({"subnet": chosen["subnet"], "root": self._node.root})
        files.write_atomic(_registered(chosen["bridge"]), registered.encode(), durable=False)
        rules.ensure(chosen["bridge"], chosen["subnet"])
        files.make_folder(os.path.dirname(self._ready))
        files.write_atomic(self._ready, json.dumps({**chosen, "boot": boot_id()}).encode(), durable=False)

    def _choose(self) -> Description:
        """A /24 of the pool that overlaps no route of the machine and no other node's network."""
        import ipaddress  # at first use only

        try:
            pool = ipaddress.IPv4Network(self._settings.subnet)
        except ValueError as error:
            raise InvalidInput(
                "[network] subnet", str(error), hint="write it as 10.90.0.0/16, without host bits"
            ) from error
        if pool.prefixlen > 29:
            raise InvalidInput("[network] subnet", "has no room for pods", hint="use at least a /29")
        taken = [ipaddress.IPv4Network(text) for text in _routes(self.bridge) + self._others()]
        choices = list(pool.subnets(new_prefix=24)) if pool.prefixlen < 24 else [pool]
        first = 0 if self._node.identity == "orlop" else int(self._node.identity[-8:], 16) % len(choices)
        for subnet in choices[first:] + choices[:first]:
            if not any(subnet.overlaps(other) for other in taken):
                return {"bridge": self.bridge, "subnet": str(subnet), "mtu": self._settings.mtu or _mtu()}
        raise LimitExceeded(
            f"[network] subnet {pool}",
            "every part of it overlaps a route of this machine or another node's network",
            hint="choose a pool that this machine does not use",
        )

    def _others(self) -> list[str]:
        """Subnets of other nodes whose bridge may not exist at the moment."""
        others = [entry for bridge, entry in _registry().items() if bridge != self.bridge]
        return [str(entry["subnet"]) for entry in others if _alive(entry)]


@contextlib.contextmanager
def machine() -> Iterator[None]:
    """The lock that all nodes of this machine share."""
    with locks.hold(os.path.join(MACHINE, "network.lock")):
        yield


@contextlib.contextmanager
def using_host_ports() -> Iterator[int]:
    """No node of ours removes portmap's shared chains meanwhile; plugins inherit the descriptor."""
    with locks.hold(os.path.join(MACHINE, "host-ports.lock"), shared=True) as descriptor:
        yield descriptor


def note_host_ports() -> None:
    """Remember, until the machine reboots, that portmap's shared chains were made by a node of ours.

    The caller holds the machine's lock. Chains that others made before stay theirs.
    """
    from orlop.network import rules

    marker = os.path.join(MACHINE, "host-ports")
    if not os.path.exists(marker) and not any("CNI-HOSTPORT" in line for line in rules.listed("nat")):
        files.write_atomic(marker, b"", durable=False)


def forget_host_ports() -> None:
    """Remove portmap's shared chains if a node of ours made them and no pod of anybody's uses them."""
    from orlop.network import rules

    marker = os.path.join(MACHINE, "host-ports")
    with contextlib.ExitStack() as held:
        with contextlib.suppress(TimedOut):  # a daemon that some plugin started may hold it for ever
            held.enter_context(
                locks.hold(os.path.join(MACHINE, "host-ports.lock"), timeout=limits.CNI_TIMEOUT)
            )
        held.enter_context(machine())
        if os.path.exists(marker) and rules.remove_host_ports():
            os.unlink(marker)


def _bridge_name(node: Node) -> str:
    """`orlop0`, or `orl-` and eight hex digits: the kernel allows 15 letters."""
    return "orlop0" if node.identity == "orlop" else f"orl-{node.identity[-8:]}"


def _unmake(bridge: str) -> None:
    """No rule and no link of this name."""
    from orlop.network import rules

    rules.remove(bridge)
    if os.path.exists(f"/sys/class/net/{bridge}"):
        process.run(("ip", "link", "delete", bridge), hint="see: ip link")


def _registry() -> dict[str, Description]:
    """The own networks of all nodes of this machine: bridge -> subnet, root."""
    found = {}
    for name in os.listdir(MACHINE):
        entry = _read(os.path.join(MACHINE, name)) if name.endswith(".json") else None
        if entry is not None and {"subnet", "root"} <= entry.keys():
            found[name.removesuffix(".json")] = entry
    return found


def _registered(bridge: str) -> str:
    return os.path.join(MACHINE, f"{bridge}.json")


def _alive(entry: Description) -> bool:
    return os.path.exists(os.path.join(entry["root"], "network", "default.json"))


def _members(bridge: str) -> list[str]:
    try:
        return os.listdir(f"/sys/class/net/{bridge}/brif")
    except OSError:
        return []


def _unlink(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def _read(path: str) -> Description | None:
    try:
        with open(path, encoding="utf-8") as stream:
            value = json.load(stream)
    except (FileNotFoundError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def _routes(except_for: str) -> list[str]:
    """Destinations of the machine's IPv4 routes as 10.0.0.0/255.0.0.0, the default route left out."""
    return [
        f"{_dotted(fields[1])}/{_dotted(fields[7])}"
        for fields in _route_table()
        if fields[0] != except_for and fields[7] != "00000000"
    ]


def _mtu() -> int:
    """The MTU of the machine's way out where it is below Ethernet's (a tunnel, as OpenStack's often is)."""
    for fields in _route_table():
        if fields[1] == fields[7] == "00000000":
            with contextlib.suppress(OSError, ValueError), open(f"/sys/class/net/{fields[0]}/mtu") as stream:
                mtu = int(stream.read())
                return mtu if mtu < 1500 else 0
    return 0


def _route_table() -> list[list[str]]:
    with contextlib.suppress(OSError), open("/proc/net/route", encoding="ascii") as stream:
        return [line.split() for line in stream.read().splitlines()[1:]]
    return []


def _dotted(word: str) -> str:
    """`0000A8C0` (the kernel's hex, host byte order) as `192.168.0.0`."""
    import sys

    return ".".join(map(str, int(word, 16).to_bytes(4, sys.byteorder)))
