"""The type loopback: `lo` of the pod's namespace is up, and what addresses it has."""

from __future__ import annotations

import os

from orlop.kit.netlink import IFF_UP, Netlink
from orlop.network.builtin.addresses import Prefix
from orlop.network.builtin.inside import inside, opened
from orlop.network.results import converted

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from typing import Any

    from orlop.network.builtin.call import Call


def call(request: Call) -> dict[str, Any]:
    """ADD, DEL, CHECK; everything else has nothing to do. Raises PluginFailed."""
    if request.command not in ("ADD", "DEL", "CHECK") or (request.command == "DEL" and not request.netns):
        return {}
    found: list[Prefix] = []
    try:
        netns = opened(request.netns)
        try:
            inside(netns, lambda: _work(request, found))
        finally:
            os.close(netns)
    except OSError as error:
        if request.command == "DEL" and isinstance(error, FileNotFoundError):
            return {}
        raise request.failed(f"{request.netns}: {error.strerror}") from error
    if request.command != "ADD":
        return {}
    previous = request.config.get("prevResult")
    if isinstance(previous, dict):
        return previous
    result = {
        "cniVersion": "1.0.0",
        "interfaces": [{"name": "lo", "mac": "00:00:00:00:00:00", "sandbox": request.netns}],
        "ips": [{"interface": 0, "address": str(prefix)} for prefix in found],
        "dns": {},
    }
    return converted(result, str(request.config["cniVersion"]))


def _work(request: Call, found: list[Prefix]) -> None:
    with Netlink() as netlink:
        lo = netlink.link("lo")
        if lo is None:
            raise request.failed("Link not found")
        if request.command == "CHECK":
            if not lo.flags & IFF_UP:
                raise request.failed("loopback interface is down")
            return
        netlink.set_flags(lo.index, IFF_UP if request.command == "ADD" else 0, IFF_UP)
        if request.command == "ADD":
            for size in (4, 16):
                own = [a for a in netlink.addresses(lo.index) if len(a.address) == size]
                found += [Prefix(one.address, one.prefix) for one in own[:1]]
