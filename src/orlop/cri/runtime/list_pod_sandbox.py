"""Pods as they are."""

from __future__ import annotations

from orlop.cri.proto import cri_pb2 as pb
from orlop.cri.service import Service
from orlop.cri.translate import status


def list_pod_sandbox(service: Service, request: pb.ListPodSandboxRequest) -> pb.ListPodSandboxResponse:
    """Those that pass the filter."""
    return pb.ListPodSandboxResponse(items=pod_sandboxes(service, request.filter))


def pod_sandboxes(service: Service, wanted: pb.PodSandboxFilter) -> list[pb.PodSandbox]:
    """For StreamPodSandboxes too."""
    found = []
    for sandbox in service.pods.sandboxes(labels=wanted.label_selector):
        item = status.sandbox_item(sandbox)
        if not item.id.startswith(wanted.id):
            continue
        if wanted.HasField("state") and item.state != wanted.state.state:
            continue
        found.append(item)
    return found
