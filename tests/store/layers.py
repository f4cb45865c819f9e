"""Layers for the store's tests: put them in without a registry, look at what became of them."""

from __future__ import annotations

import contextlib
import gzip
import io
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

from orlop.image.digest import Digest
from orlop.image.sink import LayerRequest, Reader
from orlop.kit.progress import QuietMeter
from orlop.store.erofs.mounts import mount_image
from orlop.store.store import Store
from tests.support.images import Image, Layer
from tests.support.records import record_of, requests_of


def opener(blob: bytes, opened: list[bytes] | None = None) -> Callable[[], AbstractContextManager[Reader]]:
    """What `ensure_layer` calls; `opened` counts the calls."""

    @contextlib.contextmanager
    def open_blob() -> Iterator[Reader]:
        if opened is not None:
            opened.append(blob[:0])
        yield io.BytesIO(blob)

    return open_blob


def ensure(store: Store, image: Image, opened: list[bytes] | None = None) -> list[bool]:
    """Every layer of the image; which of them had to be fetched."""
    return [
        store.ensure_layer(request, opener(layer.blob, opened), meter=QuietMeter(), tick=lambda: None)
        for request, layer in zip(requests_of(image), image.layers, strict=True)
    ]


def put(store: Store, image: Image, *names: str) -> str:
    """The whole image; returns its id."""
    with store.lease():
        ensure(store, image)
        store.put_image(record_of(image, *names))
    return image.id


def image_of(*tars: bytes, compression: str = "") -> Image:
    return Image(tuple(Layer(tar, compression) for tar in tars), {"Cmd": ["sh"]})


def put_tar(store: Store, tar: bytes, *, blob: bytes | None = None) -> bool:
    """One layer alone; `blob` is its packed form where a test packs it itself."""
    layer = Layer(tar, "")
    request = LayerRequest(
        Digest(layer.diff_id),
        None,
        Digest(layer.diff_id),
        "gzip",
        Digest.of(blob if blob is not None else tar),
        len(blob if blob is not None else tar),
    )
    fetched = store.ensure_layer(
        request, opener(tar if blob is None else blob), meter=QuietMeter(), tick=lambda: None
    )
    image = store.layout.image_file("1")
    view = view_of(store.layout.root)
    if os.path.exists(image) and not os.path.isdir(view):
        os.mkdir(view)
        mount_image(image, view)
    return fetched


def view_of(root: str) -> str:
    """Where `put_tar` mounts the first layer, if it is an image."""
    return f"{root}/view"


def gzipped(data: bytes) -> bytes:
    return gzip.compress(data, 1, mtime=0)
