"""RemoveImage: an image with all its names; what is used or pinned stays."""

from __future__ import annotations

from orlop.cri.image import lookup
from orlop.cri.proto import cri_pb2 as pb
from orlop.cri.service import Service
from orlop.cri.translate.image import is_pinned
from orlop.kit.errors import Conflict, NotFound


def remove_image(service: Service, request: pb.RemoveImageRequest) -> pb.RemoveImageResponse:
    """An image that is not there is as good as removed.

    Raises Conflict for an image that a container or an image volume stands on, or that the operator pinned.
    """
    store = service.pods.store
    try:
        stored = lookup.find(store, request.image.image)
        if stored is None:
            return pb.RemoveImageResponse()
        if is_pinned(stored, service.settings.pinned_images):
            raise Conflict(
                f"image {request.image.image}",
                "is pinned by the configuration",
                hint="take it out of pinned_images in [cri] first",
            )
        store.remove_image(stored.id, all_names=True)
    except NotFound:  # somebody was quicker
        pass
    return pb.RemoveImageResponse()
