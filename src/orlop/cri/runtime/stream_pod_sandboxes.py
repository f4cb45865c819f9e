"""StreamPodSandboxes: ListPodSandbox in parts."""

from __future__ import annotations

from collections.abc import AsyncIterator

from orlop.cri.batches import batches
from orlop.cri.proto import cri_pb2 as pb
from orlop.cri.runtime.list_pod_sandbox import pod_sandboxes
from orlop.cri.service import Service
from orlop.kit.tasks import in_thread


async def stream_pod_sandboxes(
    service: Service, request: pb.StreamPodSandboxesRequest
) -> AsyncIterator[pb.StreamPodSandboxesResponse]:
    for part in batches(await in_thread(pod_sandboxes, service, request.filter)):
        yield pb.StreamPodSandboxesResponse(pod_sandboxes=part)
