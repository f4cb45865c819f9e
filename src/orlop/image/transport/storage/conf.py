"""Where a machine's containers/storage is: storage.conf (containers-storage.conf(5)), or what a name says."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orlop.image.transport.layout.files import told
from orlop.kit import files, limits
from orlop.kit.errors import Corrupt, InvalidInput, NotFound, Unsupported

DRIVERS = ("overlay", "vfs")
_FILES = ("/etc/containers/storage.conf", "/usr/share/containers/storage.conf")
_ROOT = "/var/lib/containers/storage"
_IMAGE_STORE = "imagestore="


@dataclass(frozen=True)
class Store:
    """One folder of images and layers. `driver` is one of DRIVERS."""

    driver: str
    root: str

    @property
    def images(self) -> str:
        return os.path.join(self.root, f"{self.driver}-images")

    @property
    def layers(self) -> str:
        return os.path.join(self.root, f"{self.driver}-layers")

    def diff(self, layer: str) -> str:
        """The folder with the files of a layer."""
        if self.driver == "vfs":
            return os.path.join(self.root, "vfs", "dir", layer)
        return os.path.join(self.root, self.driver, layer, "diff")


def stores(place: str) -> tuple[Store, ...]:
    """The stores that `place` ([DRIVER@]ROOT[+RUN][:OPTION,...], "" for the machine's own) means: the one
    that is written to first, then the additional ones. Raises InvalidInput, NotFound, Unsupported, Corrupt.
    """
    if place:
        driver, root, more = _parsed(place)
    else:
        driver, root, more = _configured()
    found = [_store(root, driver)]
    found += [_store(path, driver) for path in more]
    return tuple(found)


def _parsed(place: str) -> tuple[str, str, tuple[str, ...]]:
    driver, at, rest = place.rpartition("@")
    paths, _, options = rest.partition(":")
    root = paths.partition("+")[0]
    if (at and not driver) or not root.startswith("/"):
        raise InvalidInput(
            f"containers-storage:[{place}]",
            "does not say where the storage is",
            hint="write containers-storage:[overlay@/ROOT+/RUN]NAME",
        )
    more = tuple(
        option.partition("=")[2] for option in options.split(",") if _IMAGE_STORE in option.lstrip(".")
    )
    return driver, root, more


def _configured() -> tuple[str, str, tuple[str, ...]]:
    path = _file()
    settings = _settings(path) if path else {}
    storage = _table(settings, "storage")
    root = storage.get("graphroot")
    if os.geteuid() != 0:
        root = storage.get("rootless_storage_path") or os.path.join(_data_home(), "containers", "storage")
    options = _table(storage, "options")
    more = options.get("additionalimagestores") or []
    own = storage.get("imagestore")
    listed = [*([own] if own else []), *(more if isinstance(more, list) else [])]
    return (
        str(storage.get("driver") or ""),
        os.path.expandvars(str(root or _ROOT)),
        tuple(str(store) for store in listed),
    )


def _file() -> str:
    given = os.environ.get("CONTAINERS_STORAGE_CONF")
    if given:
        return given
    config = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    own = [] if os.geteuid() == 0 else [os.path.join(config, "containers", "storage.conf")]
    return next((path for path in (*own, *_FILES) if os.path.exists(path)), "")


def _settings(path: str) -> Mapping[str, Any]:
    with told(path):
        data = files.read_bounded(path, limits.CONFIG_FILE_SIZE)
    try:
        return tomllib.loads(data.decode())
    except (ValueError, RecursionError) as error:
        raise Corrupt(path, f"is no TOML: {error}"[:300], hint="correct it") from None


def _table(document: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = document.get(key)
    return found if isinstance(found, dict) else {}


def _data_home() -> str:
    return os.environ.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share")


def _store(root: str, driver: str) -> Store:
    """The driver is what the folder has where nobody names one, as podman finds it."""
    if driver == "overlay2":
        driver = "overlay"
    if driver and driver not in DRIVERS:
        raise Unsupported(
            f"containers-storage:[{driver}@{root}]",
            f"the driver {driver[:40]!r} is not read here",
            hint=f"one of {', '.join(DRIVERS)}; or: podman save -o FILE IMAGE",
        )
    for candidate in [driver] if driver else DRIVERS:
        store = Store(candidate, root)
        if os.path.isdir(store.images):
            return store
    raise NotFound(
        f"containers-storage:[{root}]",
        "no images of podman or CRI-O",
        hint="name its root: [overlay@/ROOT]NAME",
    )
