"""images.json and layers.json of containers/storage, read under its own locks, shared."""

from __future__ import annotations

import base64
import contextlib
import fcntl
import os
import re
import struct
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from orlop.image import documents
from orlop.image.digest import Digest
from orlop.image.transport.layout.files import FolderFiles, told
from orlop.image.transport.storage.conf import Store
from orlop.kit import limits
from orlop.kit.errors import Corrupt, InvalidInput, NotFound, TimedOut, Unsupported

_ID = re.compile(r"[0-9a-f]{64}")
_PLAIN = frozenset("0123456789abcdefghijklmnopqrstuvwxyz.")
_FLOCK = "hhqqi0q"  # struct flock of fcntl(2), 64 bits
_POLL = 0.02


@dataclass(frozen=True)
class StoredImage:
    """An object of images.json. `layer` is the top layer's ID; "" for none."""

    store: Store
    id: str
    digest: str
    names: tuple[str, ...]
    layer: str
    data_names: tuple[str, ...]
    data_digests: Mapping[str, str]
    metadata: str


@dataclass(frozen=True)
class StoredLayer:
    """An object of layers.json. `size` in bytes, unpacked; -1 where it was not recorded."""

    store: Store
    id: str
    parent: str
    diff: Digest | None
    size: int

    @property
    def tar_split(self) -> str:
        return f"{self.id}.tar-split.gz"


def images(store: Store, tick: Callable[[], None]) -> list[StoredImage]:
    """Raises Corrupt, LimitExceeded, TimedOut."""
    subject = f"{store.images}/images.json"
    with reading(store.images, "images.lock", tick):
        found = _objects(store.images, "images.json", subject)
    return [
        StoredImage(
            store,
            _id(item, "id", subject),
            documents.text(item, "digest", subject),
            documents.texts(item, "names", subject),
            _id(item, "layer", subject),
            documents.texts(item, "big-data-names", subject),
            documents.text_mapping(item, "big-data-digests", subject),
            documents.text(item, "metadata", subject),
        )
        for item in found
    ]


def layers(store: Store, tick: Callable[[], None]) -> dict[str, StoredLayer]:
    """By ID. Raises Corrupt, LimitExceeded, TimedOut."""
    subject = f"{store.layers}/layers.json"
    with reading(store.layers, "layers.lock", tick):
        found = _objects(store.layers, "layers.json", subject)
        found += _objects(store.layers, "volatile-layers.json", subject)  # gone after a reboot
    return {layer.id: layer for layer in (_layer(store, item, subject) for item in found)}


def big_data(image: StoredImage, key: str, limit: int) -> bytes:
    """What is kept with an image under `key`. Raises NotFound, LimitExceeded, Corrupt."""
    folder = os.path.join(image.store.images, image.id)
    files = FolderFiles(folder, folder)
    try:
        with told(folder), files.open(big_data_name(key)) as region:
            return region.read_all(limit, f"{folder}: {key}")
    finally:
        files.close()


def big_data_name(key: str) -> str:
    """The file of a key: itself where it is plain, else `=` and its base64."""
    if key and _PLAIN.issuperset(key):
        return key
    encoded = base64.b64encode(key.encode()).decode()
    if "/" in encoded:
        raise NotFound(key[:200], "no such data", hint="name another image")
    return f"={encoded}"


@contextlib.contextmanager
def reading(folder: str, name: str, tick: Callable[[], None]) -> Iterator[None]:
    """The shared lock of containers/storage (fcntl(2) record locks, here by open file description).

    A store that cannot be written to may have no lock file: nobody changes it then.
    """
    try:
        descriptor = os.open(os.path.join(folder, name), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        yield
        return
    try:
        _shared(descriptor, f"{folder}/{name}", tick)
        yield
    finally:
        os.close(descriptor)


def _shared(descriptor: int, subject: str, tick: Callable[[], None]) -> None:
    wanted = struct.pack(_FLOCK, fcntl.F_RDLCK, os.SEEK_SET, 0, 0, 0)
    deadline = time.monotonic() + limits.LOCK_TIMEOUT
    while True:
        try:
            fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, wanted)
        except (BlockingIOError, PermissionError):
            tick()
            if time.monotonic() > deadline:
                raise TimedOut(
                    subject, "podman or another tool holds this lock", hint=f"see who: fuser -v {subject}"
                ) from None
            time.sleep(_POLL)
        else:
            return


def _objects(folder: str, name: str, subject: str) -> list[dict[str, Any]]:
    """None where nothing was stored yet."""
    try:
        files = FolderFiles(folder, folder)
    except NotFound:
        return []
    try:
        with told(subject), files.open(name) as region:
            data = region.read_all(limits.STORAGE_RECORDS, subject)
    except NotFound:
        return []
    finally:
        files.close()
    found = documents.read_object(b'{"all":' + (data.strip() or b"[]") + b"}", subject).get("all")
    if found is None:
        return []
    if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
        raise documents.malformed(subject, "is not a list of objects")
    return found


def _layer(store: Store, item: dict[str, Any], subject: str) -> StoredLayer:
    size = item.get("diff-size")
    try:
        text = documents.text(item, "diff-digest", subject)
        diff = Digest(text) if text else None
    except InvalidInput as error:
        raise documents.malformed(subject, str(error)) from error
    return StoredLayer(
        store,
        _id(item, "id", subject),
        _id(item, "parent", subject),
        diff,
        size if type(size) is int and size >= 0 else -1,
    )


def _id(item: dict[str, Any], key: str, subject: str) -> str:
    """An ID becomes part of a path, so it is one or nothing."""
    text = documents.text(item, key, subject)
    if text and not _ID.fullmatch(text):
        raise Corrupt(subject, f"`{key}` is {text[:80]!r}, no ID", hint="do not trust this storage")
    return text


def chain(top: str, known: Mapping[str, StoredLayer], subject: str) -> list[StoredLayer]:
    """The layers of an image, bottom first. Raises Corrupt, Unsupported."""
    found: list[StoredLayer] = []
    while top:
        layer = known.get(top)
        if layer is None or len(found) >= limits.LAYERS_PER_IMAGE:
            raise Corrupt(subject, f"its layer {top} is not recorded", hint="see: podman system check")
        if layer.diff is None:
            raise Unsupported(
                subject,
                f"layer {top} has no digest of its own (pulled in parts, or made by composefs)",
                hint="export it with: podman save -o FILE IMAGE",
            )
        found.append(layer)
        top = layer.parent
    return found[::-1]
