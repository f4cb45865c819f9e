"""Links, addresses and routes of a network namespace by rtnetlink(7), without a child process.

Contract
--------
- A `Netlink` speaks for the network namespace that the thread which opened it was in; it may be used from any
  other thread afterwards, by one at a time.
- Every method is one request to the kernel and its answer; `OSError` carries the kernel's number (EEXIST,
  ENODEV, ...) and the name of the request. Nothing is retried here.
- Addresses are bytes in network order, 4 or 16 of them; interfaces are their index.

Why ours: pyroute2 takes 415 ms to import, 24 MiB of memory and 2 to 4 ms for one link; all of an ADD is to
take less than 10 ms (the machine of docs/benchmarks.md). See rtnetlink(7), netlink(7) and linux/if_link.h.
"""

from __future__ import annotations

import _socket  # the C half only: `socket` costs the run path 2 ms
import errno
import os
import struct

from orlop.kit.value import dataclass

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence, port
_ATTRIBUTE = struct.Struct("=HH")  # length, type
_LINK = struct.Struct("=BxHiII")  # family, hardware type, index, flags, change
_ADDRESS = struct.Struct("=BBBBi")  # family, prefix length, flags, scope, index
_ROUTE = struct.Struct("=BBBBBBBBI")  # family, dst, src, tos, table, protocol, scope, type, flags
_CONNTRACK = struct.Struct("!BBH")  # family, version, resource

_AF_NETLINK = 16
_ROUTE_FAMILY, _NETFILTER_FAMILY = 0, 12
_AF_INET, _AF_INET6, _AF_BRIDGE = 2, 10, 7
_SOL_NETLINK, _EXT_ACK, _STRICT = 270, 11, 12
_RECEIVE = 1 << 16

# nlmsghdr flags
_REQUEST, _ACK, _DUMP = 0x1, 0x4, 0x300
_EXCL, _CREATE = 0x200, 0x400
_ERROR, _DONE = 2, 3

# rtnetlink messages
_NEWLINK, _DELLINK, _GETLINK, _SETLINK = 16, 17, 18, 19
_NEWADDR, _DELADDR, _GETADDR = 20, 21, 22
_NEWROUTE, _GETROUTE = 24, 26
_CT_GET, _CT_DELETE = (1 << 8) | 1, (1 << 8) | 2

# link attributes
_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MTU, _IFLA_LINK, _IFLA_MASTER = 1, 3, 4, 5, 10
_IFLA_PROTINFO, _IFLA_OPERSTATE, _IFLA_LINKINFO, _IFLA_NET_NS_FD = 12, 16, 18, 28
_IFLA_EXT_MASK, _IFLA_PROMISCUITY = 29, 30
_INFO_KIND, _INFO_DATA, _VETH_PEER, _BRPORT_MODE = 1, 2, 1, 4
_SKIP_STATISTICS = 8
_NESTED = 0x8000

# address and route attributes
_IFA_ADDRESS, _IFA_LOCAL, _IFA_BROADCAST, _IFA_FLAGS = 1, 2, 4, 8
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_TABLE = 1, 4, 5, 15
_TABLE_MAIN, _BOOT, _UNICAST = 254, 3, 1

IFF_UP, IFF_PROMISC = 0x1, 0x100
IFA_F_DADFAILED, IFA_F_TENTATIVE = 0x08, 0x40
OPERATIONAL = 6  # IF_OPER_UP


@dataclass(frozen=True)
class Link:
    """An interface. `peer` is the index of a veth's other end in that end's namespace, `address` its MAC."""

    index: int
    name: str
    kind: str
    address: str
    flags: int
    state: int
    master: int
    peer: int
    promiscuity: int


@dataclass(frozen=True)
class Address:
    """An address of an interface, with the kernel's IFA_F_ flags."""

    index: int
    address: bytes
    prefix: int
    flags: int


@dataclass(frozen=True)
class Route:
    """A route. `destination` and `gateway` are empty for none (a default route, a network of the link)."""

    destination: bytes
    prefix: int
    gateway: bytes
    link: int
    table: int


class Netlink:
    """A socket to the kernel in the calling thread's network namespace. Raises OSError."""

    def __init__(self, family: int = _ROUTE_FAMILY) -> None:
        kind = _socket.SOCK_RAW | _socket.SOCK_CLOEXEC
        self._socket = _socket.socket(_AF_NETLINK, kind, family)
        self._sequence = 0
        for option in (_EXT_ACK, _STRICT):
            self._socket.setsockopt(_SOL_NETLINK, option, 1)

    def __enter__(self) -> Netlink:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def close(self) -> None:
        self._socket.close()

    def link(self, name: str = "", index: int = 0) -> Link | None:
        """The interface of this name, or of this index; None where there is none."""
        body = _LINK.pack(0, 0, index, 0, 0) + _number(_IFLA_EXT_MASK, _SKIP_STATISTICS)
        if name:
            body += _text(_IFLA_IFNAME, name)
        try:
            answers = self.ask(_GETLINK, 0, body, "RTM_GETLINK")
        except OSError as error:
            if error.errno == errno.ENODEV:
                return None
            raise
        return _link(answers[0]) if answers else None

    def add_bridge(self, name: str, mtu: int = 0) -> None:
        """Make a bridge, down. EEXIST: some link bears that name."""
        body = _text(_IFLA_IFNAME, name)
        if mtu:
            body += _number(_IFLA_MTU, mtu)
        body += _attribute(_IFLA_LINKINFO, _text(_INFO_KIND, "bridge"))
        self.do(_NEWLINK, _CREATE | _EXCL, _LINK.pack(0, 0, 0, 0, 0) + body, "RTM_NEWLINK")

    def add_veth(
        self, name: str, peer: str, netns: int, *, mtu: int = 0, peer_address: bytes = b"", master: int = 0
    ) -> None:
        """Make a veth pair: `name` here, up, a port of `master`; `peer`, down, in the namespace `netns`.

        EEXIST: one of the two names is taken.
        """
        size = _number(_IFLA_MTU, mtu) if mtu else b""
        other = _LINK.pack(0, 0, 0, 0, 0) + _text(_IFLA_IFNAME, peer) + size + _number(_IFLA_NET_NS_FD, netns)
        if peer_address:
            other += _attribute(_IFLA_ADDRESS, peer_address)
        info = _text(_INFO_KIND, "veth") + _attribute(_INFO_DATA, _attribute(_VETH_PEER, other))
        body = _LINK.pack(0, 0, 0, IFF_UP, IFF_UP) + _text(_IFLA_IFNAME, name) + size
        if master:
            body += _number(_IFLA_MASTER, master)
        body += _attribute(_IFLA_LINKINFO, info)
        self.do(_NEWLINK, _CREATE | _EXCL, body, "RTM_NEWLINK")

    def set_flags(self, index: int, flags: int, mask: int) -> None:
        """Set the IFF_ flags of `mask` as in `flags`."""
        self.do(_SETLINK, 0, _LINK.pack(0, 0, index, flags, mask), "RTM_SETLINK")

    def set_address(self, index: int, address: bytes) -> None:
        """Set a MAC, also where it is the present one: a bridge keeps it then whatever ports come."""
        body = _LINK.pack(0, 0, index, 0, 0) + _attribute(_IFLA_ADDRESS, address)
        self.do(_SETLINK, 0, body, "RTM_SETLINK")

    def set_hairpin(self, index: int, on: bool) -> None:
        """Whether a bridge's port may send a frame out where it came in."""
        port = _attribute(_BRPORT_MODE, bytes([on]))
        body = _LINK.pack(_AF_BRIDGE, 0, index, 0, 0) + _attribute(_IFLA_PROTINFO | _NESTED, port)
        self.do(_SETLINK, 0, body, "RTM_SETLINK")

    def delete_link(self, index: int) -> None:
        """Remove an interface (and a veth's other end)."""
        self.do(_DELLINK, 0, _LINK.pack(0, 0, index, 0, 0), "RTM_DELLINK")

    def addresses(self, index: int) -> tuple[Address, ...]:
        """The interface's addresses, IPv4's first."""
        found = []
        for family in (_AF_INET, _AF_INET6):
            body = _ADDRESS.pack(family, 0, 0, 0, index)
            found += [_address(answer) for answer in self.ask(_GETADDR, _DUMP, body, "RTM_GETADDR")]
        return tuple(address for address in found if address.index == index)

    def add_address(self, index: int, address: bytes, prefix: int) -> None:
        """Give an address; IPv4's with the broadcast address of its network. EEXIST: it is there."""
        body = _attribute(_IFA_LOCAL, address) + _attribute(_IFA_ADDRESS, address)
        if len(address) == 4 and prefix < 31:
            number = int.from_bytes(address, "big") | (1 << (32 - prefix)) - 1
            body += _attribute(_IFA_BROADCAST, number.to_bytes(4, "big"))
        self.do(_NEWADDR, _CREATE | _EXCL, _given(index, address, prefix) + body, "RTM_NEWADDR")

    def delete_address(self, index: int, address: bytes, prefix: int) -> None:
        """Take an address away."""
        body = _attribute(_IFA_LOCAL, address) + _attribute(_IFA_ADDRESS, address)
        self.do(_DELADDR, 0, _given(index, address, prefix) + body, "RTM_DELADDR")

    def add_route(self, link: int, destination: bytes, prefix: int, gateway: bytes = b"") -> None:
        """A route of the main table to `destination`/`prefix` through `link`. EEXIST: it is there."""
        family = _AF_INET if len(destination) == 4 else _AF_INET6
        body = _ROUTE.pack(family, prefix, 0, 0, _TABLE_MAIN, _BOOT, 0, _UNICAST, 0)
        if prefix or family == _AF_INET:
            body += _attribute(_RTA_DST, destination)
        if gateway:
            body += _attribute(_RTA_GATEWAY, gateway)
        self.do(_NEWROUTE, _CREATE, body + _number(_RTA_OIF, link), "RTM_NEWROUTE")

    def routes(self, *, six: bool) -> tuple[Route, ...]:
        """All routes of one family, of every table."""
        body = _ROUTE.pack(_AF_INET6 if six else _AF_INET, *[0] * 8)
        answers = self.ask(_GETROUTE, _DUMP, body, "RTM_GETROUTE")
        return tuple(_route(answer) for answer in answers)

    def way_to(self, address: bytes) -> int:
        """The index of the link that leads to `address`. ENETUNREACH: none does."""
        family = _AF_INET if len(address) == 4 else _AF_INET6
        body = _ROUTE.pack(family, len(address) * 8, 0, 0, 0, 0, 0, 0, 0) + _attribute(_RTA_DST, address)
        return _route(self.ask(_GETROUTE, 0, body, "RTM_GETROUTE")[0]).link

    def do(self, kind: int, flags: int, body: bytes, what: str) -> None:
        """Send one request that is only acknowledged. Raises OSError."""
        self.ask(kind, flags | _ACK, body, what)

    def ask(self, kind: int, flags: int, body: bytes, what: str) -> list[bytes]:
        """Send one request; the bodies of what it is answered with. Raises OSError."""
        self._sequence += 1
        size = _HEADER.size + len(body)
        self._socket.send(_HEADER.pack(size, kind, flags | _REQUEST, self._sequence, 0) + body)
        answers: list[bytes] = []
        while True:
            for kind_, sequence, answer in _messages(self._socket.recv(_RECEIVE)):
                if sequence != self._sequence:
                    continue
                if kind_ in (_ERROR, _DONE):
                    number = -int.from_bytes(answer[:4], "little", signed=True) if len(answer) >= 4 else 0
                    if number:
                        raise OSError(number, f"{what}: {os.strerror(number)}")
                    return answers
                answers.append(answer)
                if not flags & (_ACK | _DUMP):
                    return answers


def forget_connections(protocol: int, port: int, *, six: bool) -> int:
    """Delete tracked connections of IP protocol `protocol` that were begun to `port`; how many there were.

    Raises OSError, as where the kernel tracks none.
    """
    family = _AF_INET6 if six else _AF_INET
    header = _CONNTRACK.pack(family, 0, 0)
    deleted = 0
    with Netlink(_NETFILTER_FAMILY) as link:
        for answer in link.ask(_CT_GET, _DUMP, header, "CT_GET"):
            found = dict(_attributes(answer, _CONNTRACK.size))
            tuple_ = found.get(1, b"")  # CTA_TUPLE_ORIG
            transport = dict(_attributes(dict(_attributes(tuple_)).get(2, b"")))  # CTA_TUPLE_PROTO
            if transport.get(1, b"") != bytes([protocol]) or transport.get(3, b"") != port.to_bytes(2, "big"):
                continue
            body = header + _attribute(1 | _NESTED, tuple_)
            for optional in (12, 18):  # CTA_ID, CTA_ZONE
                if optional in found:
                    body += _attribute(optional, found[optional])
            try:
                link.do(_CT_DELETE, 0, body, "CT_DELETE")
                deleted += 1
            except OSError as error:
                if error.errno != errno.ENOENT:
                    raise
    return deleted


def _messages(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    position = 0
    while position + _HEADER.size <= len(data):
        size, kind, _, sequence, _ = _HEADER.unpack_from(data, position)
        if size < _HEADER.size:
            return
        yield kind, sequence, data[position + _HEADER.size : position + size]
        position += (size + 3) & ~3


def _attributes(data: bytes, start: int = 0) -> Iterator[tuple[int, bytes]]:
    position = start
    while position + _ATTRIBUTE.size <= len(data):
        size, kind = _ATTRIBUTE.unpack_from(data, position)
        if size < _ATTRIBUTE.size:
            return
        yield kind & 0x3FFF, data[position + _ATTRIBUTE.size : position + size]
        position += (size + 3) & ~3


def _attribute(kind: int, value: bytes) -> bytes:
    size = _ATTRIBUTE.size + len(value)
    return _ATTRIBUTE.pack(size, kind) + value + bytes(-size % 4)


def _number(kind: int, value: int) -> bytes:
    return _attribute(kind, struct.pack("=I", value))


def _text(kind: int, value: str) -> bytes:
    return _attribute(kind, os.fsencode(value) + b"\0")


def _given(index: int, address: bytes, prefix: int) -> bytes:
    return _ADDRESS.pack(_AF_INET if len(address) == 4 else _AF_INET6, prefix, 0, 0, index)


def _whole(value: bytes | None) -> int:
    return int.from_bytes(value, "little") if value else 0


def _words(value: bytes | None) -> str:
    return os.fsdecode(value.rstrip(b"\0")) if value else ""


def _link(answer: bytes) -> Link:
    _, _, index, flags, _ = _LINK.unpack_from(answer)
    found = dict(_attributes(answer, _LINK.size))
    info = dict(_attributes(found.get(_IFLA_LINKINFO, b"")))
    return Link(
        index=index,
        name=_words(found.get(_IFLA_IFNAME)),
        kind=_words(info.get(_INFO_KIND)),
        address=found.get(_IFLA_ADDRESS, b"").hex(":"),
        flags=flags,
        state=_whole(found.get(_IFLA_OPERSTATE)),
        master=_whole(found.get(_IFLA_MASTER)),
        peer=_whole(found.get(_IFLA_LINK)),
        promiscuity=_whole(found.get(_IFLA_PROMISCUITY)),
    )


def _address(answer: bytes) -> Address:
    _, prefix, flags, _, index = _ADDRESS.unpack_from(answer)
    found = dict(_attributes(answer, _ADDRESS.size))
    own = found.get(_IFA_LOCAL) or found.get(_IFA_ADDRESS, b"")
    return Address(index, own, prefix, _whole(found.get(_IFA_FLAGS)) or flags)


def _route(answer: bytes) -> Route:
    _, prefix, _, _, table, _, _, _, _ = _ROUTE.unpack_from(answer)
    found = dict(_attributes(answer, _ROUTE.size))
    return Route(
        destination=found.get(_RTA_DST, b""),
        prefix=prefix,
        gateway=found.get(_RTA_GATEWAY, b""),
        link=_whole(found.get(_RTA_OIF)),
        table=_whole(found.get(_RTA_TABLE)) or table,
    )


def hardware(text: str) -> bytes:
    """`02:00:00:00:00:01` as bytes. Raises ValueError."""
    parts: Sequence[str] = text.replace("-", ":").split(":")
    if len(parts) != 6 or any(len(part) != 2 for part in parts):
        raise ValueError(f"address {text}: invalid MAC address")
    return bytes(int(part, 16) for part in parts)
