"""What people write behind the options of `run`, turned into values: sizes, ports, volumes, variables.

Every function raises InvalidInput naming the option, what was written and the form it should have. The forms
are those of podman-run(1) and docker-run(1).
"""

from __future__ import annotations

import os

from orlop.kit import limits
from orlop.kit.errors import InvalidInput
from orlop.network.model import PortMapping
from orlop.runtime.model import Device, Mount

_UNITS = {"": 1, "b": 1, "k": limits.KIB, "m": limits.MIB, "g": limits.GIB, "t": 1024 * limits.GIB}
_PROPAGATION = ("private", "rprivate", "slave", "rslave", "shared", "rshared")
#: Options of volumes that ask for what is so anyway, or that only SELinux machines know.
_HARMLESS = ("rw", "z", "Z", "bind", "rbind", "nosuid", "nodev", "noexec")
#: What `--security-opt` knows.
SECURITY_OPTIONS = "no-new-privileges, seccomp=default|unconfined|FILE"
_PROTOCOLS = ("tcp", "udp", "sctp")


def size(option: str, text: str) -> int:
    """`512m`, `1.5g`, `64MiB`, `1073741824`: bytes, in powers of 1024."""
    lower = text.lower().removesuffix("ib")
    if len(lower) > 2:
        lower = lower.removesuffix("b") if not lower[-2].isdigit() else lower
    number = lower.rstrip("bkmgt")
    unit = lower[len(number) :]
    try:
        value = int(float(number) * _UNITS[unit])
    except (ValueError, KeyError, OverflowError):
        value = -1
    if value < 0:
        raise InvalidInput(
            f"{option} {text}", "is not a size", hint="write it as 512m, 2g or a number of bytes"
        )
    return value


def cpus(text: str) -> int:
    """`0.5` cores: 500 thousandths of a core."""
    try:
        value = round(float(text) * 1000)
    except (ValueError, OverflowError):
        value = 0
    if value <= 0:
        raise InvalidInput(f"--cpus {text}", "is not a number of cores", hint="write it as 0.5 or 2")
    return value


def count(option: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise InvalidInput(f"{option} {text}", "is not a whole number", hint="write digits only") from None


def program(text: str) -> tuple[str, ...]:
    """`--entrypoint`: one program, a JSON list of it and its first arguments, or nothing at all."""
    if not text.startswith("["):
        return (text,) if text else ()
    import json

    try:
        words = json.loads(text)
    except ValueError:
        words = None
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise InvalidInput(f"--entrypoint {text}", "is not a list of strings", hint='such as ["sh", "-c"]')
    return tuple(words)


def variable(text: str) -> tuple[str, str] | None:
    """`NAME=value`, or `NAME` alone for this process's own value; None where that has none."""
    name, equals, value = text.partition("=")
    if not name or "\0" in text:
        raise InvalidInput(f"--env {text}", "names no variable", hint="write it as NAME=value or NAME")
    if equals:
        return name, value
    own = os.environ.get(name)
    return None if own is None else (name, own)


def variables_file(path: str) -> list[tuple[str, str]]:
    """Lines of `NAME=value` or `NAME`; empty lines and those with `#` first are skipped."""
    from orlop.kit.files import read_bounded

    try:
        text = read_bounded(path, limits.CONFIG_FILE_SIZE).decode()
    except (OSError, UnicodeDecodeError) as error:
        cause = (error.strerror if isinstance(error, OSError) else None) or "is not text"
        raise InvalidInput(f"--env-file {path}", cause, hint="give a file with lines NAME=value") from error
    lines = (line.strip() for line in text.splitlines())
    found = (variable(line) for line in lines if line and not line.startswith("#"))
    return [pair for pair in found if pair is not None]


def environment(files: list[str], variables: list[str]) -> list[tuple[str, str]]:
    """All of `--env-file`, then all of `--env`: later ones win."""
    found = [entry for path in files for entry in variables_file(path)]
    found += [entry for entry in map(variable, variables) if entry is not None]
    return found


def pair(option: str, text: str) -> tuple[str, str]:
    """`name=value`, both kept as they are."""
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise InvalidInput(f"{option} {text}", "has no name or no =", hint=f"write it as {option} name=value")
    return name, value


def label(text: str) -> tuple[str, str]:
    """`name=value`, or `name` for an empty value."""
    name, _, value = text.partition("=")
    if not name:
        raise InvalidInput(f"--label {text}", "has no name", hint="write it as --label name=value")
    return name, value


def volume(text: str) -> Mount:
    """`SRC:DST[:ro,rslave,...]`: a folder or file of this machine."""
    source, _, rest = text.partition(":")
    destination, _, options = rest.partition(":")
    if not source or not destination.startswith("/"):
        raise InvalidInput(
            f"--volume {text}", "is not SOURCE:/DESTINATION", hint="write it as --volume /here:/there[:ro]"
        )
    if not source.startswith(("/", ".", "~")):
        raise InvalidInput(
            f"--volume {text}",
            f"`{source}` is not a path of this machine",
            hint=f"write ./{source} or /.../{source}; named volumes are claims of `orlop play`",
        )
    path = os.path.abspath(os.path.expanduser(source))
    if not os.path.exists(path):
        raise InvalidInput(
            f"--volume {text}", f"{path} does not exist", hint=f"make it first: mkdir -p {path}"
        )
    read_only, propagation = _volume_options(text, options)
    return Mount(destination=destination, source=path, read_only=read_only, propagation=propagation)


def _volume_options(text: str, options: str) -> tuple[bool, str]:
    read_only, propagation = False, "rprivate"
    for option in filter(None, options.split(",")):
        if option == "ro":
            read_only = True
        elif option in _PROPAGATION:
            propagation = option if option.startswith("r") else "r" + option
        elif option not in _HARMLESS:
            raise InvalidInput(
                f"--volume {text}",
                f"no option `{option}`",
                hint=f"known: ro, {', '.join(_HARMLESS + _PROPAGATION)}",
            )
    return read_only, propagation


def tmpfs(text: str) -> Mount:
    """`/DST[:size=64m]`: a file system in memory."""
    destination, _, options = text.partition(":")
    if not destination.startswith("/"):
        raise InvalidInput(f"--tmpfs {text}", "is not a path", hint="write it as --tmpfs /run[:size=64m]")
    wanted = 0
    read_only = False
    for option in filter(None, options.split(",")):
        name, _, value = option.partition("=")
        if name == "size":
            wanted = size("--tmpfs", value)
        elif name == "ro":
            read_only = True
        elif name not in ("rw", "nosuid", "nodev", "noexec"):
            raise InvalidInput(f"--tmpfs {text}", f"no option `{option}`", hint="known: size=64m, ro, rw")
    return Mount(destination=destination, size=wanted, read_only=read_only)


def device(text: str) -> Device:
    """`HOST[:PATH][:rwm]`."""
    parts = text.split(":")
    path = parts[0]
    rights = "rwm"
    if len(parts) > 1 and not parts[-1].startswith("/"):
        rights = parts.pop()
    if not path.startswith("/") or len(parts) > 2 or not rights or set(rights) - set("rwm"):
        raise InvalidInput(
            f"--device {text}", "is not HOST[:PATH][:rwm]", hint="write it as --device /dev/fuse"
        )
    return Device(host_path=path, path=parts[-1], permissions=rights)


def ports(text: str) -> list[PortMapping]:
    """`[IP:]HOST:CONTAINER[/tcp]`, ranges on both sides, or `CONTAINER` alone for a free port of the host."""
    rest, _, protocol = text.partition("/")
    protocol = protocol or "tcp"
    address = ""
    if rest.startswith("["):
        address, _, rest = rest[1:].partition("]")
        rest = rest.removeprefix(":")
    elif rest.count(":") == 2:
        address, _, rest = rest.partition(":")
    host, colon, inside = rest.rpartition(":")
    if protocol not in _PROTOCOLS:
        raise _bad_port(text, f"no protocol `{protocol}`")
    containers = _range(text, inside)
    if not colon or not host:
        return [PortMapping(free_port(protocol, address), port, protocol, address) for port in containers]
    hosts = _range(text, host)
    if len(hosts) != len(containers):
        raise _bad_port(text, "the two ranges differ in length")
    return [PortMapping(h, c, protocol, address) for h, c in zip(hosts, containers, strict=True)]


def _range(text: str, written: str) -> list[int]:
    first, dash, last = written.partition("-")
    try:
        low = int(first)
        high = int(last) if dash else low
    except ValueError:
        raise _bad_port(text, f"`{written}` is not a port") from None
    if not 1 <= low <= high <= 65535:
        raise _bad_port(text, f"`{written}` is not between 1 and 65535")
    return list(range(low, high + 1))


def _bad_port(text: str, cause: str) -> InvalidInput:
    return InvalidInput(f"--publish {text}", cause, hint="write it as --publish [IP:]8080:80[/tcp]")


def free_port(protocol: str, address: str) -> int:
    """A port of this machine that nobody listens on at this moment."""
    import socket

    kind = socket.SOCK_DGRAM if protocol == "udp" else socket.SOCK_STREAM
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, kind) as probe:
            probe.bind((address, 0))
            return int(probe.getsockname()[1])
    except OSError as error:
        raise InvalidInput(
            f"--publish {address}",
            error.strerror or "is not an address of this machine",
            hint="see: ip address",
        ) from error


def host_alias(text: str) -> tuple[str, str]:
    """`NAME:ADDRESS`: (address, name)."""
    name, colon, address = text.partition(":")
    if not name or not colon or not address:
        raise InvalidInput(
            f"--add-host {text}", "is not NAME:ADDRESS", hint="write it as --add-host db:10.0.0.5"
        )
    return address, name


def security_options(options: list[str]) -> tuple[bool, str]:
    """(no_new_privileges, seccomp) of `--security-opt`."""
    no_new_privileges, seccomp = False, "default"
    for option in options:
        name, separator, value = option.replace(":", "=", 1).partition("=")
        if name == "no-new-privileges" and value in ("", "true", "false"):
            no_new_privileges = value != "false"
        elif name == "seccomp" and value:
            seccomp = value if value in ("default", "unconfined") else os.path.abspath(value)
        elif name not in ("label", "apparmor") or not separator:  # neither is on these machines
            raise InvalidInput(
                f"--security-opt {option}",
                "is not known",
                hint=f"known: {SECURITY_OPTIONS}",
            )
    return no_new_privileges, seccomp
