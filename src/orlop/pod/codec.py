"""Configurations as JSON and back, for the records. A key that this Orlop does not know is passed over."""

from __future__ import annotations

import json

from orlop.network.model import Addresses, PortMapping
from orlop.pod.model import DNS, ContainerConfig, SandboxConfig
from orlop.runtime.model import Device, IDMapping, Mount, Resources, Security

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from typing import TypeVar

    from orlop.pod.merge import Merged

    T = TypeVar("T")
_COMPACT = (",", ":")


def dumps(value: object) -> str:
    """A dataclass of this package, or plain JSON data, as one line of JSON."""
    return json.dumps(value, default=_plain, separators=_COMPACT)


def sandbox_config(text: str) -> SandboxConfig:
    """The inverse of `dumps` for a SandboxConfig."""
    data = json.loads(text)
    return _made(
        SandboxConfig,
        data,
        ports=tuple(_made(PortMapping, port) for port in data["ports"]),
        dns=_made(DNS, data["dns"]),
        host_aliases=tuple((address, tuple(names)) for address, names in data["host_aliases"]),
        resources=_made(Resources, data["resources"]),
        overhead=_made(Resources, data.get("overhead", {})),
        uid_mappings=_mappings(data.get("uid_mappings", ())),
        gid_mappings=_mappings(data.get("gid_mappings", ())),
    )


def container_config(text: str) -> ContainerConfig:
    """The inverse of `dumps` for a ContainerConfig."""
    data = json.loads(text)
    return _made(
        ContainerConfig,
        data,
        env=tuple((name, value) for name, value in data["env"]),
        mounts=tuple(_mount(mount) for mount in data["mounts"]),
        devices=tuple(_made(Device, device) for device in data["devices"]),
        resources=_made(Resources, data["resources"]),
        security=_made(Security, data["security"]),
    )


def addresses(text: str) -> Addresses:
    """The inverse of `dumps` for Addresses."""
    return _made(Addresses, json.loads(text))


def process(text: str) -> Merged:
    """The inverse of `dumps` for what a container runs; of one that was never made, nothing but defaults."""
    from orlop.pod.merge import Merged

    empty = {"args": (), "env": (), "cwd": "/", "user": "", "stop_signal": "SIGTERM"}
    return _made(Merged, {**empty, **json.loads(text)})


def identity(text: str) -> tuple[int, int, tuple[int, ...], str]:
    """User, group, groups and stop signal of what a container runs, from the same text."""
    data = json.loads(text)
    return data.get("uid", 0), data.get("gid", 0), tuple(data.get("groups", ())), data.get("stop_signal", "")


def _mount(data: dict[str, object]) -> Mount:
    return _made(
        Mount,
        data,
        uid_mappings=_mappings(data.get("uid_mappings", ())),
        gid_mappings=_mappings(data.get("gid_mappings", ())),
    )


def _mappings(data: object) -> tuple[IDMapping, ...]:
    return tuple(_made(IDMapping, each) for each in data)  # type: ignore[attr-defined]


def _plain(value: object) -> object:
    fields: dict[str, object] = vars(value)
    return fields


def _made(kind: type[T], data: dict[str, object], **replaced: object) -> T:
    known = kind.__match_args__  # type: ignore[attr-defined]  # the names of its fields
    values = {
        key: tuple(value) if isinstance(value, list) else value for key, value in data.items() if key in known
    }
    values.update(replaced)
    return kind(**values)
