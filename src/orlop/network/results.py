"""Results of ADD, versions 0.1.0 to 1.1.0 (section 5): what a pod needs of them, and their conversion."""

from __future__ import annotations

from orlop.network.conflist import order
from orlop.network.model import Addresses

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from typing import Any

_FLAT = ("0.1.0", "0.2.0")  # ip4 and ip6 instead of a list


def addresses(result: dict[str, Any], interface: str) -> Addresses:
    """What the network gave to the pod's `interface` (addresses of the machine's own ends are left out)."""
    modern = converted(result, "1.0.0")
    interfaces = [item for item in _list(modern, "interfaces") if isinstance(item, dict)]
    ips, gateways = [], []
    for item in _list(modern, "ips"):
        if not isinstance(item, dict) or not isinstance(item.get("address"), str):
            continue
        number = item.get("interface")
        inside = (
            type(number) is not int
            or not 0 <= number < len(interfaces)
            or bool(interfaces[number].get("sandbox"))
        )
        if inside:
            ips.append(item["address"].partition("/")[0])
            if item.get("gateway"):
                gateways.append(str(item["gateway"]))
    macs = [i.get("mac", "") for i in interfaces if i.get("sandbox") and i.get("name") == interface]
    dns = modern.get("dns") if isinstance(modern.get("dns"), dict) else {}
    assert isinstance(dns, dict)
    domain = [str(dns["domain"])] if dns.get("domain") else []
    return Addresses(
        ips=tuple(ips),
        gateways=tuple(dict.fromkeys(gateways)),
        nameservers=tuple(map(str, _list(dns, "nameservers"))),
        searches=tuple(dict.fromkeys(domain + [str(name) for name in _list(dns, "search")])),
        options=tuple(map(str, _list(dns, "options"))),
        mac=str(macs[0]) if macs else "",
    )


def converted(result: dict[str, Any], version: str) -> dict[str, Any]:
    """The result as `version` writes it, as prevResult has to be."""
    given = str(result.get("cniVersion", "0.1.0"))
    if given == version:
        return result
    value = {**result, "cniVersion": version}
    if given in _FLAT and version not in _FLAT:
        value["ips"] = _listed(value)
    if version in _FLAT:
        return _flat(value) if given not in _FLAT else value
    ips = [dict(item) for item in _list(value, "ips") if isinstance(item, dict)]
    for item in ips:
        if order(version) >= order("1.0.0"):
            item.pop("version", None)
        else:
            item["version"] = _family(item)
    if ips or "ips" in value:
        value["ips"] = ips
    return value


def _listed(value: dict[str, Any]) -> list[dict[str, Any]]:
    ips = []
    routes = _list(value, "routes")
    for key in ("ip4", "ip6"):
        entry = value.pop(key, None)
        if isinstance(entry, dict) and entry.get("ip"):
            item = {"address": entry["ip"]}
            if entry.get("gateway"):
                item["gateway"] = entry["gateway"]
            ips.append(item)
            routes = routes + _list(entry, "routes")
    if routes:
        value["routes"] = routes
    return ips


def _flat(value: dict[str, Any]) -> dict[str, Any]:
    routes = _list(value, "routes")
    flat: dict[str, Any] = {key: value[key] for key in ("cniVersion", "dns") if key in value}
    for item in _list(value, "ips"):
        if not isinstance(item, dict) or "address" not in item:
            continue
        six = _family(item) == "6"
        key = "ip6" if six else "ip4"
        if key not in flat:
            own = [
                route
                for route in routes
                if isinstance(route, dict) and (":" in str(route.get("dst", ""))) == six
            ]
            flat[key] = {"ip": item["address"], "routes": own}
            if item.get("gateway"):
                flat[key]["gateway"] = item["gateway"]
    return flat


def _family(item: dict[str, Any]) -> str:
    return "6" if ":" in str(item.get("address", "")) else "4"


def _list(value: dict[str, Any], key: str) -> list[Any]:
    found = value.get(key)
    return found if isinstance(found, list) else []
