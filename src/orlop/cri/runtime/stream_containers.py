"""StreamContainers: ListContainers in parts."""

from __future__ import annotations

from collections.abc import AsyncIterator

from orlop.cri.batches import batches
from orlop.cri.proto import cri_pb2 as pb
from orlop.cri.runtime.list_containers import containers
from orlop.cri.service import Service
from orlop.kit.tasks import in_thread


async def stream_containers(
    service: Service, request: pb.StreamContainersRequest
) -> AsyncIterator[pb.StreamContainersResponse]:
    for part in batches(await in_thread(containers, service, request.filter)):
        yield pb.StreamContainersResponse(containers=part)
