"""iptables rules: the three of our own network, and what plugins of others' leave behind.

Masquerading and forwarding are one rule set per network, made once per boot, rather than the bridge plugin's
`ipMasq`, which makes a chain per pod: 14 ms of every ADD, 40 ms of every DEL (docs/network.md), and chains
that stay for ever where a namespace went away before its DEL.
"""

from __future__ import annotations

from orlop.kit import process
from orlop.kit.errors import NotFound

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_HINT = "see: iptables-save"
_SHARED = ("CNI-HOSTPORT-DNAT", "CNI-HOSTPORT-MASQ", "CNI-HOSTPORT-SETMARK")
_FAMILIES = ("", "6")
_ANSWERS = "RELATED,ESTABLISHED,DNAT"  # DNAT: what portmap forwards


def listed(table: str, family: str = "") -> list[str]:
    """The rules of a table as iptables-save writes them (`-A CHAIN ...`); empty without iptables."""
    try:
        text = process.run((f"ip{family}tables-save", "-t", table), check=False).text
    except NotFound:
        return []
    return [line for line in text.splitlines() if line.startswith(("-A ", ":"))]


def ensure(bridge: str, subnet: str) -> None:
    """The rules of our own network are there, once. The caller holds the machine's lock.

    Raises NotFound where the machine has no iptables.
    """
    process.run(("iptables", "--version"), hint="install iptables")
    wanted = {
        "filter": [
            f"-I FORWARD 1 -i {bridge} {_mark(bridge)} -j ACCEPT",
            f"-I FORWARD 1 -o {bridge} -m conntrack --ctstate {_ANSWERS} {_mark(bridge)} -j ACCEPT",
        ],
        "nat": [f"-A POSTROUTING -s {subnet} ! -o {bridge} {_mark(bridge)} -j MASQUERADE"],
    }
    missing: dict[str, list[str]] = {}
    for table, lines in wanted.items():
        present = _ours(table, bridge)
        if len(present) == len(lines) and (table == "filter" or f"-s {subnet} " in present[0]):
            continue
        missing[table] = [_deleted(line) for line in present] + lines
    _apply(missing)


def remove(bridge: str) -> None:
    """The rules of our own network are gone. The caller holds the machine's lock."""
    _apply({table: [_deleted(line) for line in _ours(table, bridge)] for table in ("filter", "nat")})


def remove_masquerade(network: str, pod_id: str) -> None:
    """Remove the chain that the bridge and ptp plugins' `ipMasq` made for one pod.

    They find it by the addresses in the pod's namespace, so a DEL after that namespace is gone leaves it.
    """
    import hashlib

    chain = "CNI-" + hashlib.sha512((network + pod_id).encode()).hexdigest()[:24]
    for family in _FAMILIES:
        lines = listed("nat", family)
        if any(line.startswith(f":{chain} ") for line in lines):
            _apply({"nat": _without(lines, (chain,))}, family)


def remove_host_ports() -> bool:
    """Remove portmap's shared chains where no pod of anybody's uses them any more; whether they are gone."""
    for family in _FAMILIES:
        lines = listed("nat", family)
        if any(line.startswith("-A CNI-HOSTPORT-DNAT ") for line in lines):
            return False
        present = [chain for chain in _SHARED if any(line.startswith(f":{chain} ") for line in lines)]
        if present:
            _apply({"nat": _without(lines, present)}, family)
    return True


def _mark(bridge: str) -> str:
    return f"-m comment --comment orlop:{bridge}"


def _ours(table: str, bridge: str) -> list[str]:
    words = {f"orlop:{bridge}", f'"orlop:{bridge}"'}
    return [line for line in listed(table) if line.startswith("-A ") and words & set(line.split())]


def _without(lines: Iterable[str], chains: Sequence[str]) -> list[str]:
    jumps = [line for line in lines if line.startswith("-A ") and line.split()[-1] in chains]
    return [_deleted(line) for line in jumps] + [f"-F {c}" for c in chains] + [f"-X {c}" for c in chains]


def _deleted(line: str) -> str:
    return "-D" + line.removeprefix("-A")


def _apply(tables: Mapping[str, Sequence[str]], family: str = "") -> None:
    text = "".join(
        f"*{table}\n" + "\n".join(lines) + "\nCOMMIT\n" for table, lines in tables.items() if lines
    )
    if text:
        argv = (f"ip{family}tables-restore", "--noflush", "--wait=10")
        process.run(argv, stdin=text.encode(), hint=_HINT)
