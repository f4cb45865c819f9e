"""Pods as they are."""

from __future__ import annotations

from orlop.cri.listing import fitted
from orlop.cri.proto import cri_pb2 as pb
from orlop.cri.service import Service
from orlop.cri.translate import filters


def list_pod_sandbox(service: Service, request: pb.ListPodSandboxRequest) -> pb.ListPodSandboxResponse:
    """Those that pass the filter."""
    return pb.ListPodSandboxResponse(items=fitted(pod_sandboxes(service, request.filter)))


def pod_sandboxes(service: Service, wanted: pb.PodSandboxFilter) -> list[pb.PodSandbox]:
    """For StreamPodSandboxes too."""
    found = service.listing.sandboxes()
    passed = {sandbox.id for sandbox in filters.sandboxes([each for each, _ in found], wanted)}
    return [item for _, item in found if item.id in passed]
