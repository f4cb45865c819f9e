"""StreamPodSandboxStats: ListPodSandboxStats in parts."""

from __future__ import annotations

from collections.abc import AsyncIterator

from orlop.cri.batches import batches
from orlop.cri.proto import cri_pb2 as pb
from orlop.cri.runtime.list_pod_sandbox_stats import listed
from orlop.cri.service import Service
from orlop.kit.tasks import in_thread


async def stream_pod_sandbox_stats(
    service: Service, request: pb.StreamPodSandboxStatsRequest
) -> AsyncIterator[pb.StreamPodSandboxStatsResponse]:
    for part in batches(await in_thread(listed, service, request.filter)):
        yield pb.StreamPodSandboxStatsResponse(pod_sandbox_stats=part)
