"""The ranges that host-local gives addresses from, and the order in which it tries them."""

from __future__ import annotations

from orlop.kit.value import dataclass
from orlop.network.builtin.addresses import Prefix, following, parse, parse_prefix, text

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    RangeSet = tuple["Range", ...]


@dataclass(frozen=True)
class Range:
    """Addresses from `first` to `last`, both included, of a subnet; the gateway's is not given out."""

    subnet: Prefix
    first: bytes
    last: bytes
    gateway: bytes

    def contains(self, address: bytes) -> bool:
        return len(address) == len(self.first) and self.first <= address <= self.last

    def overlaps(self, other: Range) -> bool:
        return len(self.first) == len(other.first) and self.first <= other.last and other.first <= self.last

    def __str__(self) -> str:
        return f"{text(self.first)}-{text(self.last)}"


def of(config: Mapping[str, Any]) -> tuple[RangeSet, ...]:
    """The range sets of a plugin's configuration: one address is given from each. Raises ValueError."""
    ipam = config["ipam"]
    runtime = config.get("runtimeConfig") or {}
    described = [*runtime.get("ipRanges", ())]
    if ipam.get("subnet"):
        described.append([ipam])
    described += ipam.get("ranges", ())
    if not described:
        raise ValueError("no IP ranges specified")
    sets = []
    for number, ranges in enumerate(described):
        try:
            sets.append(_set(ranges))
        except ValueError as error:
            raise ValueError(f"invalid range set {number}: {error}") from error
    for number, one in enumerate(sets):
        for later, other in enumerate(sets[number + 1 :], number + 1):
            if any(a.overlaps(b) for a in one for b in other):
                raise ValueError(f"range set {number} overlaps with {later}")
    _check_version(sets, str(config.get("cniVersion", "")))
    return tuple(sets)


def of_set(ranges: RangeSet, address: bytes) -> Range | None:
    """The range of the set that has this address."""
    return next((one for one in ranges if one.contains(address)), None)


def written(ranges: RangeSet) -> str:
    return ",".join(map(str, ranges))


def in_turn(ranges: RangeSet, after: bytes | None) -> Iterator[tuple[bytes, Range]]:
    """Every address once, gateways left out: those that follow `after` first, then from the beginning."""
    position = next((i for i, one in enumerate(ranges) if after is not None and one.contains(after)), None)
    if position is None or after is None:
        for one in ranges:
            yield from _between(one, one.first, one.last)
        return
    start = ranges[position]
    if after < start.last:
        yield from _between(start, following(after), start.last)
    for one in ranges[position + 1 :] + ranges[:position]:
        yield from _between(one, one.first, one.last)
    yield from _between(start, start.first, after)


def _between(one: Range, first: bytes, last: bytes) -> Iterator[tuple[bytes, Range]]:
    address = first
    while True:
        if address != one.gateway:
            yield address, one
        if address == last:
            return
        address = following(address)


def _set(described: object) -> RangeSet:
    if not isinstance(described, list) or not described:
        raise ValueError("empty range set")
    ranges = tuple(_range(one) for one in described)
    if len({len(one.first) for one in ranges}) > 1:
        raise ValueError("mixed address families")
    for number, one in enumerate(ranges):
        for other in ranges[number + 1 :]:
            if one.overlaps(other):
                raise ValueError(f"subnets {one} and {other} overlap")
    return ranges


def _range(described: Mapping[str, Any]) -> Range:
    subnet = parse_prefix(described.get("subnet"))
    bits = len(subnet.address) * 8
    if subnet.length > bits - 2:
        raise ValueError(f"Network {subnet} too small to allocate from")
    if subnet.address != subnet.network:
        raise ValueError(
            f"Network has host bits set. For a subnet mask of length {subnet.length} "
            f"the network address is {text(subnet.network)}"
        )
    first = _bound(described, "rangeStart", subnet) or following(subnet.address)
    last = _bound(described, "rangeEnd", subnet)
    if last is None:
        last = following(subnet.last, -1) if bits == 32 else subnet.last
    elif last < first:
        raise ValueError(f"RangeEnd {text(last)} not in network {subnet}")
    gateway = parse(described["gateway"]) if described.get("gateway") else following(subnet.address)
    return Range(subnet, first, last, gateway)


def _bound(described: Mapping[str, Any], key: str, subnet: Prefix) -> bytes | None:
    if not described.get(key):
        return None
    address = parse(described[key])
    if not subnet.contains(address):
        name = key[0].upper() + key[1:]
        raise ValueError(f"{name} {text(address)} not in network {subnet}")
    return address


def _check_version(sets: list[RangeSet], version: str) -> None:
    for size in (4, 16):
        number = sum(len(ranges[0].first) == size for ranges in sets)
        if number > 1 and version in ("", "0.1.0", "0.2.0"):
            raise ValueError(f"CNI version {version} does not support more than 1 address per family")
