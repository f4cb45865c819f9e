"""Which configurations are served in process, and by what."""

from __future__ import annotations

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from orlop.network.builtin.call import Call

#: The types that may be named in `[network] builtin`; host-local comes with bridge.
TYPES = ("bridge", "loopback", "portmap")

_STRINGS = ("cniVersion", "name", "type")
_COMMON = {*_STRINGS, "capabilities", "runtimeConfig", "prevResult", "args", "dns"}
_BRIDGE = {
    "bridge": str,
    "isGateway": bool,
    "isDefaultGateway": bool,
    "forceAddress": bool,
    "ipMasq": bool,
    "mtu": int,
    "hairpinMode": bool,
    "promiscMode": bool,
    "ipam": dict,
}
#: Keys whose value means "not used"; any other value needs the program.
_UNUSED = {
    "vlan": (0,),
    "preserveDefaultVlan": (True, False),
    "macspoofchk": (False,),
    "disableContainerInterface": (False,),
    "portIsolation": (False,),
    "enabledad": (False,),
    "ipMasqBackend": ("iptables",),
}
_RANGE = {"subnet": str, "rangeStart": str, "rangeEnd": str, "gateway": str}
_IPAM = {"type": str, "dataDir": str, "resolvConf": str, "ranges": list, "routes": list, **_RANGE}
_PORTMAP = {
    "snat": bool,
    "masqAll": bool,
    "markMasqBit": int,
    "externalSetMarkChain": str,
    "conditionsV4": list,
    "conditionsV6": list,
}


def serves(config: Mapping[str, Any], types: Sequence[str] = TYPES) -> bool:
    """Whether this plugin's configuration, as its list has it, is served in process.

    A key or a value that is not known is the program's: it means something to it, or it complains.
    """
    kind = config.get("type")
    if kind not in types:
        return False
    own = {key: value for key, value in config.items() if key not in _COMMON}
    dns = config.get("dns", {})
    if not isinstance(dns, dict) or not set(dns) <= {"nameservers", "domain", "search", "options"}:
        return False
    if kind == "loopback":
        return not own
    if kind == "portmap":
        backend = own.pop("backend", "iptables")
        conditions = [*own.get("conditionsV4", ()), *own.get("conditionsV6", ())]
        return (
            backend == "iptables"
            and _typed(own, _PORTMAP)
            and all(_plain(word) for word in conditions)
            and _plain(own.get("externalSetMarkChain", "x"))
        )
    rest = {key: value for key, value in own.items() if value not in _UNUSED.get(key, ())}
    return _typed(rest, _BRIDGE) and _host_local(config.get("ipam"))


def call(request: Call) -> dict[str, Any]:
    """Carry out one request. {} where there is nothing to say. Raises PluginFailed."""
    kind = request.config["type"]
    if kind == "bridge":
        from orlop.network.builtin import bridge

        return bridge.call(request)
    if kind == "portmap":
        from orlop.network.builtin import portmap

        return portmap.call(request)
    from orlop.network.builtin import loopback

    return loopback.call(request)


def _host_local(ipam: object) -> bool:
    if not isinstance(ipam, dict) or ipam.get("type") != "host-local" or not _typed(ipam, _IPAM):
        return False
    sets = ipam.get("ranges", [])
    ranges = [one for ranges in sets if isinstance(ranges, list) for one in ranges]
    routes = ipam.get("routes", [])
    return (
        all(isinstance(ranges, list) for ranges in sets)
        and all(isinstance(one, dict) and _typed(one, _RANGE) for one in ranges)
        and all(isinstance(route, dict) and _typed(route, {"dst": str, "gw": str}) for route in routes)
    )


def _typed(given: Mapping[str, Any], known: Mapping[str, type]) -> bool:
    return all(key in known and type(value) is known[key] for key, value in given.items())


def _plain(word: object) -> bool:
    """Whether a word of a rule needs no quotes."""
    return isinstance(word, str) and bool(word) and not any(c.isspace() or c in "\"'\\" for c in word)
