"""The type bridge with host-local: a veth between the pod and a bridge, addresses, routes, masquerading."""

from __future__ import annotations

import contextlib
import errno
import os
import time

from orlop.kit import netlink
from orlop.kit.netlink import IFF_PROMISC, IFF_UP, Link, Netlink
from orlop.network.builtin import bridge_check, host_local, masquerade
from orlop.network.builtin.addresses import Prefix, following, parse, parse_prefix, text
from orlop.network.builtin.inside import inside, opened, read, write
from orlop.network.results import converted

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from typing import Any

    from orlop.network.builtin.call import Call

_SETTLE = 5.0  # seconds for the kernel to see that nobody else has an IPv6 address
_PORT_UP = 2.5  # seconds for the bridge's port to carry frames
_PAUSE = 0.0005
_DEFAULT = {4: "0.0.0.0/0", 16: "::/0"}


def call(request: Call) -> dict[str, Any]:
    """ADD, DEL, CHECK; everything else has nothing to do. Raises PluginFailed."""
    try:
        if request.command == "ADD":
            return _add(request)
        if request.command == "DEL":
            _delete(request)
        elif request.command == "CHECK":
            host_local.check(request)
            bridge_check.check(request)
    except OSError as error:
        raise request.failed(str(error.strerror or error)) from error
    return {}


def _add(request: Call) -> dict[str, Any]:
    config = request.config
    if config.get("hairpinMode") and config.get("promiscMode"):
        raise request.failed("cannot set hairpin mode and promiscuous mode at the same time")
    netns = opened(request.netns)
    try:
        with Netlink() as here:
            bridge = _bridge(request, here)
            name = _veth(request, here, bridge, netns)
            given = host_local.add(request)
            try:
                result = _with_gateways(request, given)
                mac = _configured(request, result, netns)
                _gateways(request, here, bridge, result)
                if config.get("ipMasq"):
                    prefixes = [parse_prefix(ip["address"]) for ip in result["ips"]]
                    masquerade.ensure(request, prefixes)
                veth = _carrying(request, here, name)
                bridge = here.link(bridge.name) or bridge  # its MAC may have changed meanwhile
            except BaseException:
                host_local.delete(request)
                raise
    finally:
        os.close(netns)
    dns = config.get("dns") or {}
    interfaces = [
        {"name": bridge.name, "mac": bridge.address},
        {"name": name, "mac": veth.address},
        {"name": request.interface, "mac": mac, "sandbox": request.netns},
    ]
    whole = {"cniVersion": "1.0.0", "interfaces": interfaces, **result, "dns": dns or result["dns"]}
    return converted(whole, str(config["cniVersion"]))


def _bridge(request: Call, here: Netlink) -> Link:
    """The bridge, up; made by the first."""
    name = request.config.get("bridge") or "cni0"
    link = here.link(name)
    fresh = link is None
    if link is None:
        with contextlib.suppress(FileExistsError):  # another pod's ADD was quicker
            here.add_bridge(name, request.config.get("mtu", 0))
        link = here.link(name)
    if link is None or link.kind != "bridge":
        raise request.failed(f'failed to create bridge "{name}": "{name}" already exists but is not a bridge')
    wanted = IFF_UP | (IFF_PROMISC if request.config.get("promiscMode") else 0)
    if fresh or link.flags & wanted != wanted:
        with contextlib.suppress(OSError):  # a kernel without IPv6
            write(f"net/ipv6/conf/{name}/accept_ra", "0")
        here.set_flags(link.index, wanted, wanted)
    return link


def _veth(request: Call, here: Netlink, bridge: Link, netns: int) -> str:
    """The pair, its outer end up and a port of the bridge; that end's name."""
    mac = request.runtime.get("mac") or request.cni_args.get("mac") or request.args.get("MAC") or ""
    try:
        address = netlink.hardware(mac) if mac else b""
    except ValueError as error:
        raise request.failed(str(error)) from error
    mtu = request.config.get("mtu", 0)
    for _ in range(10):
        name = f"veth{os.urandom(4).hex()}"
        try:
            here.add_veth(name, request.interface, netns, mtu=mtu, peer_address=address, master=bridge.index)
        except FileExistsError:
            if here.link(name) is None:
                break  # it is the pod that has an interface of that name
            continue
        with contextlib.suppress(OSError):
            write(f"net/ipv6/conf/{name}/accept_ra", "0")
        if request.config.get("hairpinMode"):
            link = here.link(name)
            if link is not None:
                here.set_hairpin(link.index, True)
        return name
    raise request.failed(f"container veth name provided ({request.interface}) already exists")


def _with_gateways(request: Call, given: dict[str, Any]) -> dict[str, Any]:
    """host-local's result as the pod gets it: each address of interface 2, gateways, default routes."""
    config = request.config
    ips, routes, seen = [], list(given.get("routes", ())), set()
    for ip in given["ips"]:
        prefix = parse_prefix(ip["address"])
        size = len(prefix.address)
        gateway = ip.get("gateway") or text(following(prefix.network))
        ips.append({"interface": 2, "address": ip["address"], "gateway": gateway})
        if not config.get("isDefaultGateway") or size in seen:
            continue
        seen.add(size)
        if not any(route.get("gw") and route["dst"] == _DEFAULT[size] for route in routes):
            routes.append({"dst": _DEFAULT[size], "gw": gateway})
    result = {"ips": ips, "dns": given["dns"]}
    if routes:
        result["routes"] = routes
    return result


def _configured(request: Call, result: dict[str, Any], netns: int) -> str:
    """The pod's interface with addresses and routes, up; its MAC."""
    found: list[str] = []

    def work() -> None:
        name = request.interface
        with contextlib.suppress(OSError):
            write(f"net/ipv6/conf/{name}/accept_dad", "0")
        with contextlib.suppress(OSError):
            write(f"net/ipv4/conf/{name}/arp_notify", "1")
        with Netlink() as there:
            link = there.link(name)
            if link is None:
                raise request.failed(f'failed to lookup "{name}": Link not found')
            found.append(link.address)
            _addressed(request, there, link, result)

    inside(netns, work)
    return found[0]


def _addressed(request: Call, there: Netlink, link: Link, result: dict[str, Any]) -> None:
    gateways: dict[int, bytes] = {}
    for ip in result["ips"]:
        prefix = parse_prefix(ip["address"])
        size = len(prefix.address)
        if size == 16 and size not in gateways:
            _enable_six(request)
        gateways.setdefault(size, parse(ip["gateway"]))
        there.add_address(link.index, prefix.address, prefix.length)
    there.set_flags(link.index, IFF_UP, IFF_UP)
    if 16 in gateways:
        _settled(request, there, link)
    for route in result.get("routes", ()):
        to = parse_prefix(route["dst"])
        gateway = parse(route["gw"]) if route.get("gw") else gateways.get(len(to.address), b"")
        try:
            there.add_route(link.index, to.network, to.length, gateway)
        except OSError as error:
            if error.errno != errno.EEXIST:
                via = text(gateway) if gateway else "<nil>"
                raise request.failed(
                    f"failed to add route '{to} via {via} dev {link.name}': {error.strerror}"
                ) from error


def _enable_six(request: Call) -> None:
    for name in ("lo", request.interface):
        with contextlib.suppress(FileNotFoundError):
            if read(f"net/ipv6/conf/{name}/disable_ipv6") != "0":
                write(f"net/ipv6/conf/{name}/disable_ipv6", "0")


def _settled(request: Call, there: Netlink, link: Link) -> None:
    """No IPv6 address of the interface is tentative any more."""
    deadline = time.monotonic() + _SETTLE
    while True:
        own = [one for one in there.addresses(link.index) if len(one.address) == 16]
        failed = [one for one in own if one.flags & netlink.IFA_F_DADFAILED]
        if failed:
            raise request.failed(f"link {link.name} has address {text(failed[0].address)} in DADFAILED state")
        if not any(one.flags & netlink.IFA_F_TENTATIVE for one in own):
            return
        if time.monotonic() > deadline:
            again = there.link(link.name)
            if again is not None and again.state == netlink.OPERATIONAL:
                raise request.failed(
                    f"link {link.name} still has tentative addresses after {_SETTLE:g} seconds"
                )
            return
        time.sleep(_PAUSE)


def _gateways(request: Call, here: Netlink, bridge: Link, result: dict[str, Any]) -> None:
    """The bridge has the gateways' addresses, and the machine forwards."""
    config = request.config
    if not (config.get("isGateway") or config.get("isDefaultGateway")):
        return
    families = set()
    for ip in result["ips"]:
        prefix = parse_prefix(ip["address"])
        families.add(len(prefix.address))
        _ensure_address(request, here, bridge, Prefix(parse(ip["gateway"]), prefix.length))
    for size, sysctl in ((4, "net/ipv4/ip_forward"), (16, "net/ipv6/conf/all/forwarding")):
        if size in families and read(sysctl) != "1":
            write(sysctl, "1")


def _ensure_address(request: Call, here: Netlink, bridge: Link, wanted: Prefix) -> None:
    for one in here.addresses(bridge.index):
        present = Prefix(one.address, one.prefix)
        if len(one.address) != len(wanted.address):
            continue
        if present == wanted:
            return
        if len(one.address) == 4 or present.contains(wanted.address) or wanted.contains(one.address):
            if not request.config.get("forceAddress"):
                raise request.failed(
                    f'failed to set bridge addr: "{bridge.name}" already has an IP address '
                    f"different from {wanted}"
                )
            here.delete_address(bridge.index, one.address, one.prefix)
    with contextlib.suppress(FileExistsError):
        here.add_address(bridge.index, wanted.address, wanted.length)
    mac = netlink.hardware(bridge.address)
    if not any(mac):  # it had neither ports nor an address of its own
        present_link = here.link(bridge.name)
        mac = netlink.hardware(present_link.address) if present_link else mac
    here.set_address(bridge.index, mac)


def _carrying(request: Call, here: Netlink, name: str) -> Link:
    """The outer end once the bridge forwards its frames."""
    deadline = time.monotonic() + _PORT_UP
    while True:
        link = here.link(name)
        if link is None:
            raise request.failed("Link not found")
        if link.state == netlink.OPERATIONAL:
            return link
        if time.monotonic() > deadline:
            raise request.failed("bridge port in error state: down")
        time.sleep(_PAUSE)


def _delete(request: Call) -> None:
    prefixes: list[Prefix] = []
    try:
        netns = opened(request.netns) if request.netns else -1
    except FileNotFoundError:
        netns = -1
    if netns < 0:
        host_local.delete(request)
        return
    try:
        inside(netns, lambda: _unlink(request, prefixes))
    finally:
        os.close(netns)
    host_local.delete(request)
    if request.config.get("ipMasq"):
        masquerade.remove(request, prefixes)


def _unlink(request: Call, prefixes: list[Prefix]) -> None:
    """The pod's interface, and the outer end with it, is gone; or has no address, where all goes anyway."""
    with Netlink() as there:
        link = there.link(request.interface)
        if link is None:
            return
        prefixes += [Prefix(one.address, one.prefix) for one in there.addresses(link.index)]
        if request.going:  # nobody answers for an address that another pod may have from now on
            for prefix in prefixes:
                there.delete_address(link.index, prefix.address, prefix.length)
            return
        try:
            there.delete_link(link.index)
        except OSError as error:
            if error.errno != errno.ENODEV:
                raise
