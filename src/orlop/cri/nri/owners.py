"""Who wants what: no two plugins set the same thing of a container, unless the second removed it first."""

from __future__ import annotations

from orlop.cri.nri.errors import PluginsClash
from orlop.cri.nri.proto import nri_pb2 as pb

_REMOVED = "-"


class Owners:
    """Claims of plugins on (container, field, key); `key` is "" for fields that there are one of."""

    def __init__(self) -> None:
        self._claims: dict[tuple[str, int, str], str] = {}

    def claim(self, container: str, field: int, plugin: str, key: str = "") -> None:
        """Raises PluginsClash where another plugin set it, or removed it to set it itself."""
        other = self._claims.get((container, field, key))
        if other is not None and other != _REMOVED + plugin:
            what = f"{pb.Field.Name(field)} {key}".rstrip()
            names = f"{plugin} and {other.removeprefix(_REMOVED)}"
            raise PluginsClash(
                f"container {container[:12]}",
                f"the plugins {names} both set {what}",
                hint="configure one of them otherwise, or stop it",
            )
        self._claims[container, field, key] = plugin

    def clear(self, container: str, field: int, plugin: str, key: str = "") -> None:
        """`plugin` has removed it, and may set it anew."""
        self._claims[container, field, key] = _REMOVED + plugin

    def add(self, container: str, field: int, plugin: str) -> None:
        """One more of those who set it: the field is a list that everybody may add to."""
        old = self._claims.get((container, field, ""))
        self._claims[container, field, ""] = f"{old},{plugin}" if old else plugin

    def of(self, container: str, field: int) -> dict[str, str]:
        """Key -> plugin, of this field of this container."""
        return {
            key: plugin
            for (owned, number, key), plugin in self._claims.items()
            if owned == container and number == field
        }

    def message(self) -> pb.OwningPlugins:
        made = pb.OwningPlugins()
        for (container, field, key), plugin in self._claims.items():
            owners = made.owners[container]
            if key:
                owners.compound[field].owners[key] = plugin
            else:
                owners.simple[field] = plugin
        return made
