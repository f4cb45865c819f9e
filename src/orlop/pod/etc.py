"""The files that a pod's containers share: /etc/hosts, /etc/resolv.conf and /etc/hostname.

They are among the pod's pins, in a small file system of their own (`namespaces.mount_files`), which goes with
them. They are bind-mounted, so they are always rewritten in place: a rename would leave the containers with
the old file.
"""

from __future__ import annotations

import os

from orlop.kit import files, limits
from orlop.kit.errors import InvalidInput
from orlop.kit.node import Node
from orlop.network.model import Addresses
from orlop.pod import namespaces
from orlop.pod.model import DNS, SandboxConfig

#: Where systemd-resolved keeps the real servers when /etc/resolv.conf names its loopback stub.
_RESOLVED = "/run/systemd/resolve/resolv.conf"
_MACHINE = "/etc/resolv.conf"

_HEAD = """\
# Written by Orlop.
127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
fe00::0\tip6-localnet
fe00::0\tip6-mcastprefix
fe00::1\tip6-allnodes
fe00::2\tip6-allrouters
"""


def folder(node: Node, sandbox_id: str) -> str:
    """Where the sandbox's files are."""
    return os.path.join(namespaces.folder(node, sandbox_id), "etc")


def hostname(config: SandboxConfig) -> str:
    """The pod's host name: what was asked for, the machine's with the host's network, else the pod's name."""
    if config.network == "host":
        return os.uname().nodename
    return config.hostname or config.name[:63].rstrip("-.")


def write(node: Node, sandbox_id: str, config: SandboxConfig, addresses: Addresses) -> None:
    """Write all three; again when the addresses are known."""
    place = folder(node, sandbox_id)
    os.makedirs(place, mode=0o700, exist_ok=True)
    texts = {
        "hosts": hosts(config, addresses),
        "resolv.conf": resolv_conf(config, addresses),
        "hostname": hostname(config) + "\n",
    }
    owner = None
    if config.uid_mappings:  # the pod's root may change them, as elsewhere
        from orlop.pod import user_namespace

        owner = user_namespace.root_of(config.uid_mappings), user_namespace.root_of(config.gid_mappings)
    for name, text in texts.items():
        _in_place(os.path.join(place, name), text, owner)


def remove(node: Node, sandbox_id: str) -> None:
    """Take the files away, also from where older versions had them; absent is fine."""
    for place in (folder(node, sandbox_id), node.in_state("pods", sandbox_id)):
        namespaces.detach(place)
        files.remove_tree(place)


def hosts(config: SandboxConfig, addresses: Addresses) -> str:
    """The text of /etc/hosts: the pod's own names at its addresses, then its aliases."""
    if config.network == "host":
        text = _read("/etc/hosts") or _HEAD
    else:
        name = hostname(config)
        own = addresses.ips or ("127.0.1.1",)
        if config.domain:
            name = name.removesuffix(f".{config.domain}")
            name = f"{name}.{config.domain}\t{name}"
        text = _HEAD + "".join(f"{address}\t{name}\n" for address in own)
    if config.host_aliases:
        text = text.rstrip("\n") + "\n\n# Entries of hostAliases.\n"
        text += "".join(f"{address}\t{' '.join(names)}\n" for address, names in config.host_aliases)
    return text


def resolv_conf(config: SandboxConfig, addresses: Addresses) -> str:
    """The text of /etc/resolv.conf: the pod's, else the network's, else the machine's.

    A loopback server of the machine's is of no use in another network namespace and is left out there.
    """
    dns = config.dns
    if dns == DNS() and addresses.nameservers and config.network == "pod":
        dns = DNS(addresses.nameservers, addresses.searches, addresses.options)
    if dns != DNS():
        lines = [f"search {' '.join(dns.searches)}"] if dns.searches else []
        lines += [f"nameserver {server}" for server in dns.servers]
        lines += [f"options {' '.join(dns.options)}"] if dns.options else []
        return "".join(line + "\n" for line in lines)
    text = _read(_MACHINE)
    if config.network == "host":
        return text
    lines = [line for line in text.splitlines() if not _is_loopback(line)]
    if not any(line.startswith("nameserver") for line in lines):
        resolved = [line for line in _read(_RESOLVED).splitlines() if not _is_loopback(line)]
        lines = resolved or lines
    return "".join(line + "\n" for line in lines)


def validate(config: SandboxConfig) -> None:
    """Raises InvalidInput where a name or an address would break a line of these files."""
    words: list[tuple[str, str]] = [("hostname", config.hostname)] if config.hostname else []
    words += [("domain", config.domain)] if config.domain else []
    words += [("dns", word) for word in config.dns.servers + config.dns.searches + config.dns.options]
    for address, names in config.host_aliases:
        words += [("hostAliases", address), *(("hostAliases", name) for name in names)]
        if not names:
            raise InvalidInput(f"hostAliases {address}", "has no names", hint="give it at least one name")
    for where, word in words:
        if not word or len(word) > limits.NAME_LENGTH or not word.isprintable() or word.split() != [word]:
            raise InvalidInput(
                f"pod {config.name}: {where}",
                f"{word!r} is not one word",
                hint="correct this name or address",
            )
    for where, word in [("dns", server) for server in config.dns.servers] + [
        ("hostAliases", address) for address, _ in config.host_aliases
    ]:
        _address(f"pod {config.name}: {where}", word)


def _address(where: str, text: str) -> None:
    import ipaddress  # only pods with their own servers or aliases pay for it

    try:
        ipaddress.ip_address(text.partition("%")[0])
    except ValueError as error:
        raise InvalidInput(
            where, f"{text!r} is not an IP address", hint="write it like 192.0.2.1 or 2001:db8::1"
        ) from error


def _is_loopback(line: str) -> bool:
    words = line.split()
    return len(words) > 1 and words[0] == "nameserver" and (words[1].startswith("127.") or words[1] == "::1")


def _read(path: str) -> str:
    try:
        return files.read_bounded(path, limits.CONFIG_FILE_SIZE).decode(errors="replace")
    except OSError:
        return ""


def _in_place(path: str, text: str, owner: tuple[int, int] | None) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    try:
        if owner is not None:
            os.fchown(descriptor, *owner)
        os.fchmod(descriptor, 0o644)  # whatever the umask: users in the container read it
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)
