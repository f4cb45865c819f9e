"""An image of these tests as a Sink wants it: what it needs, and its record."""

from __future__ import annotations

from orlop.image.digest import Digest, chain_ids
from orlop.image.sink import ImageRecord, LayerRequest
from tests.support.images import Image


def requests_of(image: Image) -> list[LayerRequest]:
    """Its layers, bottom first."""
    diff_ids = tuple(Digest(layer.diff_id) for layer in image.layers)
    chains = chain_ids(diff_ids)
    return [
        LayerRequest(
            chains[place],
            chains[place - 1] if place else None,
            diff_ids[place],
            layer.compression,
            Digest(layer.digest),
            len(layer.blob),
        )
        for place, layer in enumerate(image.layers)
    ]


def record_of(image: Image, *names: str) -> ImageRecord:
    """What is recorded once its layers are there."""
    return ImageRecord(
        id=Digest(image.id),
        digest=Digest(image.digest),
        manifest=image.manifest,
        config=image.config_bytes,
        layers=tuple(request.chain_id for request in requests_of(image)),
        names=names,
        digests=(Digest(image.digest),),
    )
