"""The type portmap with iptables: ports of the machine that lead into the pod."""

from __future__ import annotations

import contextlib
import os

from orlop.kit import netlink
from orlop.kit.errors import OrlopError, ProcessFailed
from orlop.network.builtin import nat
from orlop.network.builtin.addresses import Prefix, parse, parse_prefix, text
from orlop.network.builtin.inside import write
from orlop.network.builtin.masquerade import chain_name
from orlop.network.results import converted

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from orlop.network.builtin.call import Call

_DNAT, _MARK, _MASQ = "CNI-HOSTPORT-DNAT", "CNI-HOSTPORT-SETMARK", "CNI-HOSTPORT-MASQ"
_MARK_BIT = 13
_PORTS_PER_RULE = 15  # multiport takes no more
_COMMENT = 255
_PROTOCOLS = ("tcp", "udp", "sctp", "dccp", "udplite")  # that iptables loads a match for
_UDP = 17


def call(request: Call) -> dict[str, Any]:
    """ADD, DEL, CHECK; everything else has nothing to do. Raises PluginFailed."""
    if request.command not in ("ADD", "DEL", "CHECK"):
        return {}
    try:
        mappings = _mappings(request)
        if request.command == "DEL":
            if mappings:
                _delete(request)
            return {}
        previous = request.config.get("prevResult")
        if not isinstance(previous, dict):
            raise request.failed("must be called as chained plugin")
        for prefix in _inside(request, converted(previous, "1.0.0")) if mappings else ():
            if request.command == "ADD":
                _add(request, mappings, prefix)
            else:
                _check(request, mappings, prefix)
    except (ValueError, OSError) as error:
        raise request.failed(str(error)) from error
    except ProcessFailed as error:
        raise request.failed(f"{error.subject}: {error.cause}") from error
    return previous if request.command == "ADD" else {}


def _mappings(request: Call) -> list[dict[str, Any]]:
    mappings = list(request.runtime.get("portMappings") or ())
    bit = request.config.get("markMasqBit", _MARK_BIT)
    if "markMasqBit" in request.config and "externalSetMarkChain" in request.config:
        raise ValueError("failed to parse config: Cannot specify externalSetMarkChain and markMasqBit")
    if not 0 <= bit <= 31:
        raise ValueError("failed to parse config: MasqMarkBit must be between 0 and 31")
    for entry in mappings:
        for key, what in (("containerPort", "container"), ("hostPort", "host")):
            if type(entry.get(key)) is not int or not 0 < entry[key] < 65536:
                raise ValueError(f"failed to parse config: Invalid {what} port number: {entry.get(key)}")
        if entry.get("protocol") not in _PROTOCOLS:
            raise ValueError(f"unknown protocol {entry.get('protocol')!r}")
        if entry.get("hostIP"):
            parse(entry["hostIP"])
    return mappings


def _inside(request: Call, result: dict[str, Any]) -> list[Prefix]:
    """The pod's first IPv4 and first IPv6 address."""
    interfaces = result.get("interfaces") or ()
    found: dict[int, Prefix] = {}
    for ip in result.get("ips") or ():
        number = ip.get("interface")
        if type(number) is int and 0 <= number < len(interfaces):
            one = interfaces[number]
            if one.get("name") != request.interface or not one.get("sandbox"):
                continue
        prefix = parse_prefix(ip["address"])
        found.setdefault(len(prefix.address), prefix)
    return [found[size] for size in (4, 16) if size in found]


def _add(request: Call, mappings: list[dict[str, Any]], prefix: Prefix) -> None:
    six = len(prefix.address) == 16
    chain = _chain(request)
    entry, own = _rules(request, mappings, prefix)

    def changes(table: nat.Table) -> list[str]:
        lines = _shared(request, table)
        lines += ["-D" + line.removeprefix("-A") for line in table.leading_to(chain)]
        lines += [f"-F {chain}" if table.has(chain) else f"-N {chain}", *own, *entry]
        return lines

    nat.change(changes, six=six)
    for mapping in mappings:
        if mapping["protocol"] == "udp":  # or a flow that began before goes on missing the pod
            with contextlib.suppress(OSError):
                netlink.forget_connections(_UDP, mapping["hostPort"], six=six)
    if not six and request.config.get("snat", True):
        _allow_localhost(prefix)


def _delete(request: Call) -> None:
    """Both families, unless the result tells which the pod has; a family without a nat table has nothing."""
    previous = request.config.get("prevResult")
    families = {4, 16}
    if isinstance(previous, dict):
        families = {len(one.address) for one in _inside(request, converted(previous, "1.0.0"))}
    failures: list[OrlopError] = []
    for size in sorted(families):
        try:
            nat.remove_chain(_chain(request), six=size == 16)
        except OrlopError as error:
            failures.append(error)
    if failures and (len(failures) == len(families) or not _no_table(failures[0])):
        raise request.failed(f"could not teardown dnat: {failures[0].cause}")


def _no_table(error: OrlopError) -> bool:
    """Whether the kernel has no such table, so nothing can be in it."""
    return "Table does not exist" in error.cause or "can't initialize" in error.cause


def _check(request: Call, mappings: list[dict[str, Any]], prefix: Prefix) -> None:
    six = len(prefix.address) == 16
    chain = _chain(request)
    table = nat.listed(six=six)
    if not table.has(chain):
        raise request.failed(f"could not check dnat: chain {chain} not found in iptables table nat")
    entry, own = _rules(request, mappings, prefix)
    if not set(own) <= table.rules:
        raise request.failed(f"rule in chain {chain} not found in table nat")
    if len(table.leading_to(chain)) < len(entry):
        raise request.failed(f"rule in chain {_DNAT} not found in table nat")


def _chain(request: Call) -> str:
    return chain_name(request.network, request.id, "DN-")


def _shared(request: Call, table: nat.Table) -> list[str]:
    """What is missing of the chains that all pods share. `-N`: never flush what somebody else has made."""
    lines: list[str] = []
    if request.config.get("snat", True) and "externalSetMarkChain" not in request.config:
        bit = 1 << request.config.get("markMasqBit", _MARK_BIT)
        mark = f"{bit:#x}/{bit:#x}"
        comment = "-m comment --comment"
        _chained(
            lines, table, _MARK, [f'{comment} "CNI portfwd masquerade mark" -j MARK --set-xmark {mark}'], []
        )
        jump = f'-A POSTROUTING {comment} "CNI portfwd requiring masquerade" -j {_MASQ}'
        _chained(lines, table, _MASQ, [f"-m mark --mark {mark} -j MASQUERADE"], [jump])
    local = [f"-A {name} -m addrtype --dst-type LOCAL -j {_DNAT}" for name in ("PREROUTING", "OUTPUT")]
    _chained(lines, table, _DNAT, [], local)
    return lines


def _chained(lines: list[str], table: nat.Table, chain: str, rules: list[str], jumps: list[str]) -> None:
    if not table.has(chain):
        lines.append(f"-N {chain}")
    lines += [f"-A {chain} {rule}" for rule in rules if f"-A {chain} {rule}" not in table.rules]
    for jump in jumps:
        if jump not in table.rules:  # before the masquerading of bridge and ptp, which would take the packet
            lines.append(jump.replace("-A POSTROUTING", "-I POSTROUTING 1", 1))


def _rules(request: Call, mappings: list[dict[str, Any]], prefix: Prefix) -> tuple[list[str], list[str]]:
    """The rules that lead to the pod's chain, and those in it, as iptables-save writes them."""
    config = request.config
    six = len(prefix.address) == 16
    chain = _chain(request)
    comment = f'dnat name: "{request.network}" id: "{request.id}"'
    if len(comment) > _COMMENT:
        comment = comment[:253] + "..."
    conditions = "".join(f" {word}" for word in config.get("conditionsV6" if six else "conditionsV4") or ())
    entry = []
    for protocol in sorted({str(mapping["protocol"]) for mapping in mappings}):
        ports = [str(one["hostPort"]) for one in mappings if one["protocol"] == protocol]
        for start in range(0, len(ports), _PORTS_PER_RULE):
            some = ",".join(ports[start : start + _PORTS_PER_RULE])
            entry.append(
                f"-A {_DNAT} -p {protocol} -m comment --comment {nat.quoted(comment)} "
                f"-m multiport --dports {some}{conditions} -j {chain}"
            )
    own = [f"-A {chain} {rule}" for mapping in mappings for rule in _of(config, mapping, prefix)]
    return entry, own


def _of(config: Any, mapping: dict[str, Any], prefix: Prefix) -> Iterable[str]:
    """A mapping's rules: what has to be masqueraded is marked (hairpins, localhost), then the translation."""
    six = len(prefix.address) == 16
    to = ""
    if mapping.get("hostIP"):
        host = parse(mapping["hostIP"])
        if len(host) != len(prefix.address):
            return
        if any(host):
            to = f"-d {text(host)}/{len(host) * 8} "
    protocol = mapping["protocol"]
    match = f"-p {protocol} -m {protocol} --dport {mapping['hostPort']}"
    mark = config.get("externalSetMarkChain", _MARK)
    if config.get("snat", True):
        everything = bool(config.get("masqAll"))
        source = "" if everything else f"-s {text(prefix.network)}/{prefix.length} "
        yield f"{source}{to}{match} -j {mark}"
        if not six and not everything:
            yield f"-s 127.0.0.1/32 {to}{match} -j {mark}"
    address = f"[{text(prefix.address)}]" if six else text(prefix.address)
    yield f"{to}{match} -j DNAT --to-destination {address}:{mapping['containerPort']}"


def _allow_localhost(prefix: Prefix) -> None:
    """Let connections from 127.0.0.1 cross to the pod's link: not martians there."""
    with netlink.Netlink() as here:
        try:
            link = here.link(index=here.way_to(prefix.address))
        except OSError:
            return
    if link is not None and os.path.exists(f"/proc/sys/net/ipv4/conf/{link.name}"):
        write(f"net/ipv4/conf/{link.name}/route_localnet", "1")
