"""StreamImages: ListImages in parts."""

from __future__ import annotations

from collections.abc import AsyncIterator

from orlop.cri.batches import batches
from orlop.cri.image.list_images import listed
from orlop.cri.proto import cri_pb2 as pb
from orlop.cri.service import Service
from orlop.kit.tasks import in_thread


async def stream_images(
    service: Service, request: pb.StreamImagesRequest
) -> AsyncIterator[pb.StreamImagesResponse]:
    for part in batches(await in_thread(listed, service, request.filter)):
        yield pb.StreamImagesResponse(images=part)
