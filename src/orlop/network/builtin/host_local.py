"""Addresses from ranges, a file each below `dataDir`/<network>, as host-local keeps them.

A lease is a file named by its address that holds `<container id>\\r\\n<interface>`; `last_reserved_ip.<n>`
tells where range set n goes on, and `lock` is the lock that the plugin takes too.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os

from orlop.network.builtin import ranges
from orlop.network.builtin.addresses import Prefix, parse, parse_prefix, text

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    from orlop.network.builtin.call import Call

_DATA_DIR = "/var/lib/cni/networks"
_LAST = "last_reserved_ip."
_READ = 4096


def add(call: Call) -> dict[str, Any]:
    """Reserve an address of each range set; a result with `ips`, `routes` and `dns`. Raises PluginFailed."""
    try:
        ipam = call.config["ipam"]
        sets = ranges.of(call.config)
        wanted = _wanted(call)
        routes = [_route(route) for route in ipam.get("routes", ())]
        dns = _resolver(ipam["resolvConf"]) if ipam.get("resolvConf") else {}
        with _locked(call) as folder:
            ips = _reserve(folder, call, sets, wanted)
    except ValueError as error:
        raise call.failed(str(error)) from error
    except OSError as error:
        raise call.failed(f"{error.strerror}: {error.filename}") from error
    result: dict[str, Any] = {"ips": ips, "dns": dns}
    if routes:
        result["routes"] = routes
    return result


def delete(call: Call) -> None:
    """Give back every address of the container's interface. Raises PluginFailed."""
    try:
        ranges.of(call.config)
        with _locked(call) as folder:
            _release(folder, call)
    except ValueError as error:
        raise call.failed(str(error)) from error
    except OSError as error:
        raise call.failed(f"{error.strerror}: {error.filename}") from error


def check(call: Call) -> None:
    """Raises PluginFailed where the container has no address."""
    with _locked(call) as folder:
        if not _owned(folder, call):
            raise call.failed(f"host-local: Failed to find address added by container {call.id}")


@contextlib.contextmanager
def _locked(call: Call) -> Iterator[str]:
    """The network's folder, nobody else in it: neither a thread, nor a process, nor the plugin."""
    folder = os.path.join(call.config["ipam"].get("dataDir") or _DATA_DIR, call.network)
    path = os.path.join(folder, "lock")
    flags = os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags, 0o750)
    except FileNotFoundError:
        os.makedirs(folder, mode=0o755, exist_ok=True)
        descriptor = os.open(path, flags, 0o750)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield folder
    finally:
        os.close(descriptor)


def _reserve(
    folder: str, call: Call, sets: Sequence[ranges.RangeSet], wanted: list[bytes]
) -> list[dict[str, Any]]:
    """The `ips` of the result; nothing stays reserved after a failure."""
    ips = []
    try:
        for number, one in enumerate(sets):
            asked = next((address for address in wanted if ranges.of_set(one, address)), None)
            if asked is not None:
                wanted = [address for address in wanted if address != asked]
            try:
                given, source = _get(folder, call, number, one, asked)
            except ValueError as error:
                raise ValueError(f"failed to allocate for range {number}: {error}") from error
            prefix = Prefix(given, source.subnet.length)
            ips.append({"address": str(prefix), "gateway": text(source.gateway)})
        if wanted:
            raise ValueError("failed to allocate all requested IPs: " + " ".join(map(text, wanted)))
    except BaseException:
        if ips:
            _release(folder, call)
        raise
    return ips


def _get(
    folder: str, call: Call, number: int, one: ranges.RangeSet, asked: bytes | None
) -> tuple[bytes, ranges.Range]:
    if asked is not None:
        source = ranges.of_set(one, asked)
        assert source is not None
        if asked == source.gateway:
            raise ValueError(f"requested ip {text(asked)} is subnet's gateway")
        if not _take(folder, call, number, asked):
            raise ValueError(
                f"requested IP address {text(asked)} is not available in range set {ranges.written(one)}"
            )
        return asked, source
    for name in _owned(folder, call):
        with contextlib.suppress(ValueError):
            if ranges.of_set(one, parse(name)):
                raise _Duplicate(name, call.id)
    for address, source in ranges.in_turn(one, _last(folder, number)):
        if _take(folder, call, number, address):
            return address, source
    raise ValueError(f"no IP addresses available in range set: {ranges.written(one)}")


class _Duplicate(OSError):
    """The container has an address of this range set already."""

    def __init__(self, name: str, owner: str) -> None:
        super().__init__(
            17, f"{name} has been allocated to {owner}, duplicate allocation is not allowed", name
        )


def _take(folder: str, call: Call, number: int, address: bytes) -> bool:
    """Make the lease, unless somebody has it."""
    path = os.path.join(folder, text(address))
    if os.path.lexists(path):
        return False
    _write_lease(path, f"{call.id.strip()}\r\n{call.interface}".encode())
    last = os.path.join(folder, f"{_LAST}{number}")
    descriptor = os.open(last, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, text(address).encode())
    finally:
        os.close(descriptor)
    return True


def _write_lease(path: str, content: bytes) -> None:
    """With its content or not at all: an empty lease, of a process that was killed, would be nobody's for
    ever. The caller holds the lock and has seen that there is none."""
    folder = os.path.dirname(path)
    try:
        descriptor = os.open(folder, os.O_WRONLY | os.O_TMPFILE | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EISDIR):
            raise
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        named = True
    else:
        named = False
    try:
        os.write(descriptor, content)
        if not named:
            # With a folder's descriptor it is linkat(2), which follows the link in /proc.
            os.link(f"/proc/self/fd/{descriptor}", path, src_dir_fd=descriptor)
    except OSError:
        if named:
            os.unlink(path)
        raise
    finally:
        os.close(descriptor)


def _last(folder: str, number: int) -> bytes | None:
    try:
        return parse(_content(os.path.join(folder, f"{_LAST}{number}")).decode())
    except (OSError, ValueError):
        return None


def _owned(folder: str, call: Call) -> list[str]:
    """The names of the files that this container's interface has, or that an old plugin wrote for it."""
    own = f"{call.id.strip()}\r\n{call.interface}".encode()
    old = call.id.strip().encode()
    found: tuple[list[str], list[str]] = ([], [])
    for name in sorted(os.listdir(folder)):
        if name == "lock":
            continue
        try:
            content = _content(os.path.join(folder, name)).strip()
        except OSError:
            continue  # a folder, or gone
        if content in (own, old):
            found[content != own].append(name)
    return found[0] or found[1]


def _release(folder: str, call: Call) -> None:
    for name in _owned(folder, call):
        with contextlib.suppress(OSError):
            os.unlink(os.path.join(folder, name))


def _content(path: str) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        return os.read(descriptor, _READ)
    finally:
        os.close(descriptor)


def _wanted(call: Call) -> list[bytes]:
    """Addresses that were asked for, by CNI_ARGS, `args` and the capability `ips`, each once."""
    asked = [call.args["IP"]] if call.args.get("IP") else []
    asked += [*call.cni_args.get("ips", ()), *call.runtime.get("ips", ())]
    return list(dict.fromkeys(parse(str(one).partition("/")[0]) for one in asked))


def _route(route: dict[str, Any]) -> dict[str, Any]:
    written = {"dst": str(parse_prefix(route.get("dst")))}
    if route.get("gw"):
        written["gw"] = text(parse(route["gw"]))
    return written


def _resolver(path: str) -> dict[str, Any]:
    """A resolv.conf as CNI's `dns`."""
    dns: dict[str, Any] = {}
    keys = {"nameserver": "nameservers", "search": "search", "options": "options"}
    with open(path, encoding="utf-8", errors="replace") as stream:
        for line in stream:
            words = line.split()
            if len(words) < 2 or words[0][0] in "#;":
                continue
            if words[0] == "domain":
                dns["domain"] = words[1]
            elif words[0] in keys:
                given = words[1:2] if words[0] == "nameserver" else words[1:]
                dns.setdefault(keys[words[0]], []).extend(given)
    return dns
