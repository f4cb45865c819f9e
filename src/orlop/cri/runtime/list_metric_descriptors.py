"""ListMetricDescriptors: the metrics that ListPodSandboxMetrics gives; always the same."""

from __future__ import annotations

from orlop.cri.proto import cri_pb2 as pb
from orlop.cri.service import Service
from orlop.cri.translate import metrics


def list_metric_descriptors(
    service: Service, request: pb.ListMetricDescriptorsRequest
) -> pb.ListMetricDescriptorsResponse:
    return pb.ListMetricDescriptorsResponse(descriptors=metrics.descriptors())
