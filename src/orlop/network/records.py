"""What was attached, or may have been: one file each, as libcni caches results, but where a reboot keeps it.

A record is on the disk before ADD is attempted and until DEL has succeeded, so whatever happens in between,
DEL follows. Keys are libcni's (`kind`, `containerId`, `config`, `ifName`, `networkName`, `netns`, `cniArgs`,
`capabilityArgs`, `result`) and one of our own, `orlop`.
"""

from __future__ import annotations

import contextlib
import json
import os

from orlop.kit import files, limits
from orlop.kit.errors import Corrupt
from orlop.kit.value import dataclass, field

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

_KIND = "cniCacheV1"
_PARTIAL = ".tmp"  # how kit.files names what it writes


@dataclass(frozen=True)
class Record:
    """An attachment. `result` is None where ADD was not seen to end, `deleting` once DEL was wanted.

    `instance` tells one namespace from the next at the same path: boot and inode. `builtin` are the types
    that were served in process: a version that only they speak may have been chosen.
    """

    network: str
    id: str
    interface: str
    netns: str
    config: dict[str, Any]
    args: tuple[tuple[str, str], ...] = ()
    capabilities: Mapping[str, Any] = field(default_factory=dict)
    result: dict[str, Any] | None = None
    deleting: bool = False
    instance: str = ""
    pod: str = ""
    builtin: tuple[str, ...] = ()

    @property
    def file(self) -> str:
        return f"{self.network}-{self.id}-{self.interface}"

    def having(self, **changes: Any) -> Record:
        """The record with some fields changed (dataclasses.replace, without importing that)."""
        return Record(**{**self.__dict__, **changes})


class Records:
    """The folder of records. Writers hold the attachment's lock."""

    def __init__(self, folder: str) -> None:
        self._folder = folder

    def write(self, record: Record) -> None:
        """Durable when it returns."""
        data = json.dumps(_packed(record)).encode()
        path = os.path.join(self._folder, record.file)
        try:
            files.write_atomic(path, data, mode=0o600)
        except FileNotFoundError:
            files.make_folder(self._folder)
            files.write_atomic(path, data, mode=0o600)

    def remove(self, record: Record) -> None:
        """Gone, if it was there. A power cut may bring it back: then DEL is asked for once more."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(self._folder, record.file))

    def all(self) -> list[Record]:
        """Every record, by file name. Raises Corrupt naming a file that is none."""
        return [record for name in self._names() if (record := self._read(name)) is not None]

    def of(self, pod_id: str) -> list[Record]:
        """The records of one pod, for whoever holds its lock: what a killed writer left of one goes."""
        names = [name for name in self._listed() if f"-{pod_id}-" in name]
        for name in names:
            if name.endswith(_PARTIAL):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(os.path.join(self._folder, name))
        records = (self._read(name) for name in names if not name.endswith(_PARTIAL))
        return [record for record in records if record is not None and record.id == pod_id]

    def _names(self) -> list[str]:
        return [name for name in self._listed() if not name.endswith(_PARTIAL)]

    def _listed(self) -> list[str]:
        try:
            return sorted(os.listdir(self._folder))
        except FileNotFoundError:
            return []

    def _read(self, name: str) -> Record | None:
        path = os.path.join(self._folder, name)
        try:
            return _unpacked(json.loads(files.read_bounded(path, limits.CNI_FILE_SIZE)))
        except FileNotFoundError:
            return None  # removed meanwhile
        except (ValueError, LookupError, TypeError) as error:
            raise Corrupt(
                path, f"is not the record of a network attachment: {error}", hint="remove the file"
            ) from error


def _packed(record: Record) -> dict[str, Any]:
    import binascii

    config = json.dumps(record.config).encode()
    value = {
        "kind": _KIND,
        "containerId": record.id,
        "config": binascii.b2a_base64(config, newline=False).decode(),  # Go writes []byte so
        "ifName": record.interface,
        "networkName": record.network,
        "netns": record.netns,
        "cniArgs": [list(pair) for pair in record.args],
        "capabilityArgs": dict(record.capabilities),
        "orlop": {
            "deleting": record.deleting,
            "instance": record.instance,
            "pod": record.pod,
            "builtin": record.builtin,
        },
    }
    if record.result is not None:
        value["result"] = record.result
    return value


def _unpacked(value: dict[str, Any]) -> Record:
    import binascii

    own = value["orlop"]
    config = json.loads(binascii.a2b_base64(value["config"]))
    if not isinstance(config["plugins"], list) or not isinstance(config["cniVersion"], str):
        raise TypeError("its configuration is not a list of plugins")
    return Record(
        network=value["networkName"],
        id=value["containerId"],
        interface=value["ifName"],
        netns=value["netns"],
        config=config,
        args=tuple((str(key), str(text)) for key, text in value["cniArgs"]),
        capabilities=value["capabilityArgs"],
        result=value.get("result"),
        deleting=own["deleting"],
        instance=own["instance"],
        pod=own["pod"],
        builtin=tuple(own.get("builtin", ())),
    )
