"""StreamContainerStats: ListContainerStats in parts."""

from __future__ import annotations

from collections.abc import AsyncIterator

from orlop.cri.batches import batches
from orlop.cri.proto import cri_pb2 as pb
from orlop.cri.runtime.list_container_stats import listed
from orlop.cri.service import Service
from orlop.kit.tasks import in_thread


async def stream_container_stats(
    service: Service, request: pb.StreamContainerStatsRequest
) -> AsyncIterator[pb.StreamContainerStatsResponse]:
    for part in batches(await in_thread(listed, service, request.filter)):
        yield pb.StreamContainerStatsResponse(container_stats=part)
