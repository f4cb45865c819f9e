"""CHECK of the type bridge: links, addresses and routes are as ADD's result says."""

from __future__ import annotations

import os

from orlop.kit.netlink import Link, Netlink
from orlop.network.builtin.addresses import parse, parse_prefix
from orlop.network.builtin.inside import inside, opened
from orlop.network.results import converted

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from typing import Any

    from orlop.network.builtin.call import Call


def check(request: Call) -> None:
    """Raises PluginFailed naming what is not as it was."""
    given = request.config.get("prevResult")
    if not isinstance(given, dict):
        raise request.failed("Required prevResult missing")
    result = converted(given, "1.0.0")
    interfaces = [one for one in result.get("interfaces") or () if isinstance(one, dict)]
    name = request.config.get("bridge") or "cni0"
    bridge = next((one for one in interfaces if one.get("name") == name), None)
    own = (request.interface, request.netns)
    pod = next((one for one in interfaces if (one.get("name"), one.get("sandbox")) == own), None)
    if bridge is None or pod is None:
        raise request.failed(f"Sandbox in prevResult doesn't match configured netns: {request.netns}")
    found: list[Link] = []
    netns = opened(request.netns)
    try:
        inside(netns, lambda: found.append(_pod(request, pod, result)))
    finally:
        os.close(netns)
    with Netlink() as here:
        link = _bridge(request, here, bridge)
        outer = [one for one in interfaces if one is not bridge and one is not pod]
        if not any(_joins(here, one, link, found[0]) for one in outer):
            raise request.failed(f"CNI veth created for bridge {name} was not found")


def _bridge(request: Call, here: Netlink, expected: dict[str, Any]) -> Link:
    name = expected["name"]
    link = here.link(name)
    if link is None:
        raise request.failed(f"Interface name {name} not found")
    if link.kind != "bridge":
        raise request.failed(f"Interface {name} does not have link type of bridge")
    if expected.get("mac") not in (None, "", link.address):
        raise request.failed(f"Bridge interface {name} Mac doesn't match: {expected['mac']}")
    if bool(link.promiscuity) != bool(request.config.get("promiscMode")):
        raise request.failed(f"Bridge interface {name} configured Promisc Mode doesn't match current state")
    return link


def _joins(here: Netlink, expected: dict[str, Any], bridge: Link, pod: Link) -> bool:
    link = here.link(str(expected.get("name", "")))
    return (
        link is not None
        and link.kind == "veth"
        and (link.index, link.peer, link.master) == (pod.peer, pod.index, bridge.index)
        and expected.get("mac") in (None, "", link.address)
    )


def _pod(request: Call, expected: dict[str, Any], result: dict[str, Any]) -> Link:
    with Netlink() as there:
        link = there.link(request.interface)
        if link is None:
            raise request.failed(f"Interface name {request.interface} not found")
        if link.kind != "veth":
            raise request.failed(f"Error: Container interface {link.name} not of type veth")
        if expected.get("mac") not in (None, "", link.address):
            raise request.failed(
                f"Interface {link.name} Mac {expected['mac']} doesn't match container Mac: {link.address}"
            )
        present = {(one.address, one.prefix) for one in there.addresses(link.index)}
        for ip in result.get("ips") or ():
            prefix = parse_prefix(ip["address"])
            if (prefix.address, prefix.length) not in present:
                raise request.failed(f"Failed to match addr {prefix} on interface {link.name}")
        _routes(request, there, result)
        return link


def _routes(request: Call, there: Netlink, result: dict[str, Any]) -> None:
    for route in result.get("routes") or ():
        to = parse_prefix(route["dst"])
        gateway = parse(route["gw"]) if route.get("gw") else b""
        if not any(
            (one.destination or bytes(len(to.address)), one.prefix) == (to.network, to.length)
            and gateway in (b"", one.gateway)
            for one in there.routes(six=len(to.address) == 16)
        ):
            raise request.failed(f"Expected Route {to} not found in routing table")
