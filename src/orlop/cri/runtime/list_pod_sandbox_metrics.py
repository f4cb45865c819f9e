"""ListPodSandboxMetrics: what pods and containers use, under the names that cAdvisor gave them."""

from __future__ import annotations

from orlop.cri import usage
from orlop.cri.proto import cri_pb2 as pb
from orlop.cri.service import Service
from orlop.cri.translate import metrics
from orlop.kit import limits
from orlop.pod.stats import sandbox_stats


def list_pod_sandbox_metrics(
    service: Service, request: pb.ListPodSandboxMetricsRequest
) -> pb.ListPodSandboxMetricsResponse:
    return pb.ListPodSandboxMetricsResponse(pod_metrics=listed(service))


def listed(service: Service) -> list[pb.PodSandboxMetrics]:
    """Of the ready pods."""
    pods, found = service.pods, []
    running = usage.by_sandbox(each for each in service.containers() if each.state == "running")
    for sandbox in service.sandboxes():
        if sandbox.state != "ready":
            continue
        containers = running.get(sandbox.id, [])
        reading = sandbox_stats(
            pods, sandbox, containers=containers, detail=True, disk_age=limits.CRI_DISK_AGE
        )
        found.append(metrics.sandbox(sandbox, reading, containers))
    return found
