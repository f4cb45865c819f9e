"""Stats and metrics of containers and pods, and the streams that give them in parts."""

from __future__ import annotations

import time
from pathlib import Path

import grpc
import pytest

from orlop.cri.batches import batches
from orlop.cri.proto import cri_pb2 as pb
from orlop.cri.rates import Rates
from orlop.cri.translate import metrics
from tests.cri.objects import container, running_container, sandbox
from tests.support.cri import Client

host = pytest.mark.host
SECOND = 10**9
MIB = 1024 * 1024


# Rates


def test_cpu_in_use_is_the_difference_between_two_readings_at_least_a_second_apart() -> None:
    rates = Rates()
    assert rates.nano_cores("a", 1010.0, 5 * SECOND, since=1000.0) == SECOND // 2  # since its start
    assert rates.nano_cores("a", 1012.0, 9 * SECOND, since=1000.0) == 2 * SECOND
    assert rates.nano_cores("a", 1012.1, 9 * SECOND, since=1000.0) == int(4 * SECOND / 2.1)
    assert rates.nano_cores("a", 1014.0, 9 * SECOND, since=1000.0) == 0
    assert rates.nano_cores("b", 1014.0, 9 * SECOND, since=0.0) is None
    assert rates.nano_cores("b", 1016.0, 11 * SECOND, since=0.0) == SECOND


def test_a_count_that_begins_anew_is_no_negative_rate() -> None:
    rates = Rates()
    rates.nano_cores("a", 1010.0, 5 * SECOND, since=1000.0)
    assert rates.nano_cores("a", 1012.0, SECOND, since=1000.0) is None
    assert rates.nano_cores("a", 1014.0, 3 * SECOND, since=1000.0) == SECOND


def test_readings_of_what_is_gone_are_forgotten() -> None:
    rates = Rates()
    for number in range(5000):
        rates.nano_cores(str(number), 1000.0 + number, 1, since=0.0)
    assert len(rates._readings) <= 1025


def test_parts_of_a_list_are_never_empty_and_hold_each_item_once() -> None:
    assert list(batches([pb.Image() for _ in range(0)])) == []
    items = [pb.Image(id=str(number)) for number in range(5)]
    assert [list(part) for part in batches(items, 2)] == [items[:2], items[2:4], items[4:]]


# Descriptors


def test_every_metric_has_a_name_and_words_of_its_own() -> None:
    found = metrics.descriptors()
    names = [each.name for each in found]
    assert len(set(names)) == len(names)
    assert all(name.startswith("container_") for name in names)
    assert all(
        each.help.endswith(".") and len(set(each.label_keys)) == len(each.label_keys) for each in found
    )
    for name in (
        "container_cpu_usage_seconds_total",
        "container_memory_working_set_bytes",
        "container_network_receive_bytes_total",
        "container_oom_events_total",
        "container_start_time_seconds",
    ):
        assert name in names


# The daemon


def stats_of(client: Client, identifier: str) -> pb.ContainerStats:
    answer = client.ContainerStats(pb.ContainerStatsRequest(container_id=identifier))
    assert isinstance(answer.stats, pb.ContainerStats)
    return answer.stats


@host
def test_a_running_containers_stats_say_what_it_uses(client: Client) -> None:
    pod = sandbox(client)
    script = "dd if=/dev/zero of=/file bs=1M count=3 2>/dev/null; while :; do :; done"
    busy = running_container(client, pod, command=["sh", "-c", script], labels={"a": "b"}, memory=64 * MIB)
    deadline = time.monotonic() + 20
    while stats_of(client, busy).cpu.usage_core_nano_seconds.value < SECOND // 5:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    found = stats_of(client, busy)
    assert (found.attributes.id, found.attributes.metadata.name) == (busy, "main")
    assert dict(found.attributes.labels) == {"a": "b"}
    assert found.cpu.usage_nano_cores.value > SECOND // 100
    assert 0 < found.memory.working_set_bytes.value <= found.memory.usage_bytes.value < 64 * MIB
    assert found.memory.available_bytes.value == 64 * MIB - found.memory.working_set_bytes.value
    assert found.memory.page_faults.value > 0
    for part in (found.cpu, found.memory, found.writable_layer, found.swap):
        assert abs(part.timestamp - time.time_ns()) < 60 * SECOND
    assert Path(found.writable_layer.fs_id.mountpoint).is_dir()
    assert found.writable_layer.inodes_used.value > 0


@host
def test_what_a_container_wrote_is_counted(client: Client) -> None:
    inside = running_container(client, sandbox(client))
    command = ["dd", "if=/dev/zero", "of=/file", "bs=1M", "count=3"]
    client.ExecSync(pb.ExecSyncRequest(container_id=inside, cmd=command))
    assert stats_of(client, inside).writable_layer.used_bytes.value >= 3 * MIB


@host
def test_stats_of_what_does_not_run_or_is_not_there(client: Client) -> None:
    created = container(client, sandbox(client))
    assert stats_of(client, created).cpu.usage_core_nano_seconds.value < SECOND
    for call, request in (
        (client.ContainerStats, pb.ContainerStatsRequest(container_id="f" * 64)),
        (client.PodSandboxStats, pb.PodSandboxStatsRequest(pod_sandbox_id="f" * 64)),
    ):
        with pytest.raises(grpc.RpcError) as caught:
            call(request)
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND


@host
def test_lists_of_stats_are_of_what_runs_and_passes_the_filter(client: Client) -> None:
    one, two = (sandbox(client, name, labels={"pod": name}) for name in ("one", "two"))
    first = running_container(client, one, labels={"x": "1"})
    second = running_container(client, two, labels={"x": "2"})
    container(client, two, name="created")

    def listed(**asked: object) -> list[str]:
        wanted = pb.ListContainerStatsRequest(filter=pb.ContainerStatsFilter(**asked))  # type: ignore[arg-type]
        return [each.attributes.id for each in client.ListContainerStats(wanted).stats]

    assert listed() == [first, second]
    assert listed(id=first[:13]) == [first]
    assert listed(pod_sandbox_id=two) == [second]
    assert listed(label_selector={"x": "2"}) == [second]
    assert listed(id=first, label_selector={"x": "2"}) == []
    parts = client.StreamContainerStats(pb.StreamContainerStatsRequest())
    assert [each.attributes.id for part in parts for each in part.container_stats] == [first, second]

    def pods(**asked: object) -> list[str]:
        wanted = pb.ListPodSandboxStatsRequest(filter=pb.PodSandboxStatsFilter(**asked))  # type: ignore[arg-type]
        return [each.attributes.id for each in client.ListPodSandboxStats(wanted).stats]

    assert pods() == [one, two]
    assert pods(id=two[:8]) == [two]
    assert pods(label_selector={"pod": "one"}) == [one]
    client.StopPodSandbox(pb.StopPodSandboxRequest(pod_sandbox_id=one))
    assert pods() == [two]
    streamed = client.StreamPodSandboxStats(pb.StreamPodSandboxStatsRequest())
    assert [each.attributes.id for part in streamed for each in part.pod_sandbox_stats] == [two]


@host
def test_a_pods_stats_have_its_network_its_processes_and_its_containers(client: Client) -> None:
    pod = sandbox(client, network=True)
    running_container(client, pod)
    found = client.PodSandboxStats(pb.PodSandboxStatsRequest(pod_sandbox_id=pod)).stats
    assert found.attributes.metadata.namespace == "tests"
    linux = found.linux
    assert linux.network.default_interface.name == "eth0"
    assert linux.network.default_interface.HasField("rx_bytes")
    assert linux.process.process_count.value >= 1
    assert linux.cpu.usage_core_nano_seconds.value > 0
    assert linux.memory.working_set_bytes.value > 0
    assert [each.attributes.metadata.name for each in linux.containers] == ["main"]


@host
def test_the_machines_network_is_none_of_a_pods(client: Client) -> None:
    pod = sandbox(client)
    running_container(client, pod)
    found = client.PodSandboxStats(pb.PodSandboxStatsRequest(pod_sandbox_id=pod)).stats
    assert found.linux.process.process_count.value >= 1
    assert not found.linux.HasField("network")
    (told,) = client.ListPodSandboxMetrics(pb.ListPodSandboxMetricsRequest()).pod_metrics
    assert not [each for each in told.metrics if "_network_" in each.name]


@host
def test_metrics_have_the_labels_that_their_descriptors_say(client: Client) -> None:
    pod = sandbox(client, network=True)
    inside = running_container(client, pod, memory=64 * MIB)
    described = {
        each.name: list(each.label_keys)
        for each in client.ListMetricDescriptors(pb.ListMetricDescriptorsRequest()).descriptors
    }
    (found,) = client.ListPodSandboxMetrics(pb.ListPodSandboxMetricsRequest()).pod_metrics
    assert found.pod_sandbox_id == pod
    (own,) = found.container_metrics
    assert own.container_id == inside
    for each in (*found.metrics, *own.metrics):
        assert len(each.label_values) == len(described[each.name]), each.name
    labels = dict(
        zip(
            described["container_spec_memory_limit_bytes"],
            _one(own, "spec_memory_limit_bytes").label_values,
            strict=True,
        )
    )
    assert (labels["container"], labels["pod"], labels["namespace"]) == ("main", "pod", "tests")
    assert _one(own, "spec_memory_limit_bytes").value.value == 64 * MIB
    assert _one(own, "memory_working_set_bytes").value.value > 0
    assert _one(own, "processes").value.value == 1
    assert any(each.name == "container_network_receive_bytes_total" for each in found.metrics)
    streamed = client.StreamPodSandboxMetrics(pb.StreamPodSandboxMetricsRequest())
    assert [each.pod_sandbox_id for part in streamed for each in part.pod_sandbox_metrics] == [pod]


def _one(found: pb.ContainerMetrics, name: str) -> pb.Metric:
    (metric,) = [each for each in found.metrics if each.name == f"container_{name}"]
    return metric
