"""What `ipMasq` makes in iptables: a chain for each pod; packets to the pod's own network leave it again."""

from __future__ import annotations

import hashlib

from orlop.network.builtin import nat
from orlop.network.builtin.addresses import Prefix, text

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from collections.abc import Sequence

    from orlop.network.builtin.call import Call

_MULTICAST = {4: "224.0.0.0/4", 16: "ff00::/8"}
_CHAIN_LENGTH = 28


def chain_name(network: str, container: str, kind: str = "") -> str:
    """The name that the plugins give to the chain of a container."""
    return f"CNI-{kind}{hashlib.sha512((network + container).encode()).hexdigest()}"[:_CHAIN_LENGTH]


def ensure(request: Call, prefixes: Sequence[Prefix]) -> None:
    """The chain of this container, with the rules for these addresses. Raises NotFound, ProcessFailed."""
    chain = chain_name(request.network, request.id)
    comment = "-m comment --comment " + nat.quoted(f'name: "{request.network}" id: "{request.id}"')
    for size in (4, 16):
        own = [prefix for prefix in prefixes if len(prefix.address) == size]
        if not own:
            continue
        wanted = [f"-A {chain} -d {text(p.network)}/{p.length} {comment} -j ACCEPT" for p in own]
        wanted.insert(1, f"-A {chain} ! -d {_MULTICAST[size]} {comment} -j MASQUERADE")
        wanted += [f"-A POSTROUTING -s {text(p.address)}/{size * 8} {comment} -j {chain}" for p in own]

        def missing(table: nat.Table, wanted: list[str] = wanted) -> list[str]:
            first = [] if table.has(chain) else [f"-N {chain}"]
            return first + [line for line in wanted if line not in table.rules]

        nat.change(missing, six=size == 16)


def remove(request: Call, prefixes: Sequence[Prefix]) -> None:
    """The container's chain is gone from the families of `prefixes`, as the plugin does it."""
    chain = chain_name(request.network, request.id)
    for size in {len(prefix.address) for prefix in prefixes}:
        nat.remove_chain(chain, six=size == 16)
