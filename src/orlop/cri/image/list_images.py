"""ListImages: what the store has."""

from __future__ import annotations

from orlop.cri.image import lookup
from orlop.cri.proto import cri_pb2 as pb
from orlop.cri.service import Service
from orlop.kit.errors import NotFound
from orlop.store.model import StoredImage


def list_images(service: Service, request: pb.ListImagesRequest) -> pb.ListImagesResponse:
    return pb.ListImagesResponse(images=listed(service, request.filter))


def listed(service: Service, asked: pb.ImageFilter) -> list[pb.Image]:
    """Every image, or the one that the filter names."""
    store, pinned = service.pods.store, service.settings.pinned_images
    images = []
    for stored in _stored(service, asked.image.image):
        try:
            images.append(lookup.described(store, stored, pinned))
        except NotFound:  # removed since
            continue
    return images


def _stored(service: Service, name: str) -> list[StoredImage]:
    if not name:
        return service.pods.store.images()
    found = lookup.find(service.pods.store, name)
    return [] if found is None else [found]
