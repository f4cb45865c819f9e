"""The list streams: the same items as the lists, each once, in parts that are never empty, then the end."""

from __future__ import annotations

import pytest

from orlop.cri.proto import cri_pb2 as pb
from tests.cri.objects import container, running_container, sandbox
from tests.support.cri import Client

pytestmark = pytest.mark.host


def test_streams_of_nothing_end_at_once(client: Client) -> None:
    assert list(client.StreamPodSandboxes(pb.StreamPodSandboxesRequest())) == []
    assert list(client.StreamContainers(pb.StreamContainersRequest())) == []
    assert list(client.StreamContainerStats(pb.StreamContainerStatsRequest())) == []
    assert list(client.StreamPodSandboxStats(pb.StreamPodSandboxStatsRequest())) == []
    assert list(client.StreamPodSandboxMetrics(pb.StreamPodSandboxMetricsRequest())) == []


def test_pods_and_containers_stream_as_they_are_listed(client: Client) -> None:
    pods = [sandbox(client, name, labels={"name": name}) for name in ("a", "b", "c")]
    running = running_container(client, pods[0])
    created = container(client, pods[1])
    listed = client.ListPodSandbox(pb.ListPodSandboxRequest()).items
    streamed = [
        each
        for part in client.StreamPodSandboxes(pb.StreamPodSandboxesRequest())
        for each in part.pod_sandboxes
    ]
    assert streamed == list(listed)
    assert [each.id for each in streamed] == pods
    wanted = pb.StreamPodSandboxesRequest(filter=pb.PodSandboxFilter(label_selector={"name": "b"}))
    (part,) = client.StreamPodSandboxes(wanted)
    assert [each.id for each in part.pod_sandboxes] == [pods[1]]
    parts = client.StreamContainers(pb.StreamContainersRequest())
    assert [each.id for part in parts for each in part.containers] == [running, created]
    state = pb.ContainerStateValue(state=pb.CONTAINER_RUNNING)
    only = pb.StreamContainersRequest(filter=pb.ContainerFilter(state=state))
    assert [each.id for part in client.StreamContainers(only) for each in part.containers] == [running]
