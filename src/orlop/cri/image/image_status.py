"""ImageStatus: one image, or an empty answer where there is none."""

from __future__ import annotations

import json

from orlop.cri.image import lookup
from orlop.cri.proto import cri_pb2 as pb
from orlop.cri.service import Service
from orlop.kit.errors import NotFound
from orlop.store.model import StoredImage


def image_status(service: Service, request: pb.ImageStatusRequest) -> pb.ImageStatusResponse:
    store = service.pods.store
    stored = lookup.find(store, request.image.image)
    if stored is None:
        return pb.ImageStatusResponse()
    try:
        found = lookup.described(store, stored, service.settings.pinned_images)
        info = _info(service, stored) if request.verbose else {}
    except NotFound:  # removed since
        return pb.ImageStatusResponse()
    return pb.ImageStatusResponse(image=found, info=info)


def _info(service: Service, stored: StoredImage) -> dict[str, str]:
    """What people look for: chain IDs of the layers, and the image's own documents."""
    store = service.pods.store
    known = {
        "chainIDs": list(stored.layers),
        "manifestDigest": stored.digest,
        "imageSpec": json.loads(store.config_bytes(stored.id)),
        "manifest": json.loads(store.manifest_bytes(stored.id)),
    }
    return {"info": json.dumps(known)}
