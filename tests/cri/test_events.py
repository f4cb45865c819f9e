"""Container events: their order and content, ends whoever caused them, slow and vanishing subscribers."""

from __future__ import annotations

import asyncio
import contextlib
import os
import queue
import signal
import threading
import time
from collections.abc import Iterator

import grpc
import pytest

from orlop.cri import events as events_module
from orlop.cri.events import Events
from orlop.cri.observer import Observer
from orlop.cri.proto import cri_pb2 as pb
from orlop.kit import limits
from orlop.kit.errors import LimitExceeded
from orlop.pod.context import Pods
from tests.cri.objects import container, running_container, sandbox, sandbox_config
from tests.cri.requests import box, create, refused, remove, run, start
from tests.support.cri import Client, Daemon

host = pytest.mark.host
CREATED, STARTED, STOPPED, DELETED = range(4)


class Listener:
    """Subscribes, and keeps what comes."""

    def __init__(self, client: Client) -> None:
        self._stream = client.GetContainerEvents(pb.GetEventsRequest())
        self._events: queue.Queue[pb.ContainerEventResponse] = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        with contextlib.suppress(grpc.RpcError):
            for event in self._stream:
                self._events.put(event)

    def next(self) -> pb.ContainerEventResponse:
        return self._events.get(timeout=20)

    def kinds(self, count: int) -> list[tuple[str, int]]:
        found = [self.next() for _ in range(count)]
        return [(event.container_id, event.container_event_type) for event in found]

    def until(self, identifier: str, kind: int) -> list[pb.ContainerEventResponse]:
        """Everything up to this event."""
        found = [self.next()]
        while (found[-1].container_id, found[-1].container_event_type) != (identifier, kind):
            found.append(self.next())
        return found

    def rest(self) -> list[pb.ContainerEventResponse]:
        time.sleep(0.3)
        return [self._events.get() for _ in range(self._events.qsize())]

    def leave(self) -> None:
        self._stream.cancel()


@pytest.fixture
def listener(client: Client) -> Iterator[Listener]:
    """One that is known to be subscribed: it has heard of a pod."""
    made = Listener(client)
    deadline = time.monotonic() + 20
    while made._events.empty():
        assert time.monotonic() < deadline
        marker = sandbox(client, "marker")
        client.RemovePodSandbox(pb.RemovePodSandboxRequest(pod_sandbox_id=marker))
        time.sleep(0.05)
    made.rest()
    yield made
    made.leave()


@host
def test_the_life_of_a_pod_and_its_container_is_told_in_order(client: Client, listener: Listener) -> None:
    pod = sandbox(client)
    inside = running_container(client, pod)
    client.StopContainer(pb.StopContainerRequest(container_id=inside, timeout=0))
    client.RemoveContainer(pb.RemoveContainerRequest(container_id=inside))
    client.StopPodSandbox(pb.StopPodSandboxRequest(pod_sandbox_id=pod))
    client.RemovePodSandbox(pb.RemovePodSandboxRequest(pod_sandbox_id=pod))
    told = listener.kinds(8)
    assert [kind for identifier, kind in told if identifier == pod] == [CREATED, STARTED, STOPPED, DELETED]
    own = [kind for identifier, kind in told if identifier == inside]
    assert own == [CREATED, STARTED, STOPPED, DELETED]
    assert listener.rest() == []


@host
def test_an_event_has_the_state_of_the_pod_and_its_containers(client: Client, listener: Listener) -> None:
    pod = sandbox(client)
    container(client, pod, name="other")
    ended = running_container(client, pod, command=["sh", "-c", "exit 3"])
    found = [listener.next() for _ in range(6)]
    (stop,) = [event for event in found if event.container_event_type == STOPPED]
    assert stop.container_id == ended
    assert stop.pod_sandbox_status.metadata.uid == "uid-pod"
    assert abs(stop.created_at - time.time_ns()) < 60 * 10**9
    states = {each.metadata.name: (each.state, each.exit_code) for each in stop.containers_statuses}
    assert states == {"other": (pb.CONTAINER_CREATED, 0), "main": (pb.CONTAINER_EXITED, 3)}


@host
def test_an_end_that_nobody_asked_for_is_told(client: Client, serving: Daemon, listener: Listener) -> None:
    inside = running_container(client, sandbox(client))
    listener.kinds(4)
    with contextlib.closing(_pods(serving)) as pods:
        os.kill(pods.container(inside).pid, signal.SIGKILL)
    event = listener.next()
    assert (event.container_id, event.container_event_type) == (inside, STOPPED)
    assert event.containers_statuses[0].exit_code == 137
    assert listener.rest() == []


@host
def test_a_repeated_request_is_no_second_event(client: Client, listener: Listener) -> None:
    config = sandbox_config("again")
    request = pb.RunPodSandboxRequest(config=config)
    first, second = (client.RunPodSandbox(request).pod_sandbox_id for _ in range(2))
    assert first == second
    inside = [container(client, first) for _ in range(2)]
    for identifier in inside:
        client.StartContainer(pb.StartContainerRequest(container_id=identifier))
    for _ in range(2):
        client.StopPodSandbox(pb.StopPodSandboxRequest(pod_sandbox_id=first))
    told = listener.kinds(6)
    assert told == [
        (first, CREATED),
        (first, STARTED),
        *((inside[0], kind) for kind in range(3)),
        (first, STOPPED),
    ]
    assert listener.rest() == []
    remove(client, first)


@host
def test_a_start_that_cannot_be_is_an_end(client: Client, listener: Listener) -> None:
    pod = run(client)
    identifier = create(client, pod, box(command=["/no/such/program"]))
    with refused(grpc.StatusCode.INVALID_ARGUMENT):
        start(client, identifier)
    *_, last = listener.until(identifier, STOPPED)
    [told] = last.containers_statuses
    assert (told.state, told.reason, told.exit_code) == (pb.CONTAINER_EXITED, "StartError", 128)
    remove(client, pod)


@host
def test_the_containers_of_a_stopped_pod_have_ended_before_it(client: Client, listener: Listener) -> None:
    pod = sandbox(client)
    inside = running_container(client, pod)
    listener.kinds(4)
    client.StopPodSandbox(pb.StopPodSandboxRequest(pod_sandbox_id=pod))
    assert listener.kinds(2) == [(inside, STOPPED), (pod, STOPPED)]
    assert listener.rest() == []


@host
def test_what_a_removed_pod_took_along_is_told_before_it(client: Client, listener: Listener) -> None:
    pod = sandbox(client)
    inside = running_container(client, pod)
    listener.kinds(4)
    client.RemovePodSandbox(pb.RemovePodSandboxRequest(pod_sandbox_id=pod))
    told = listener.until(pod, DELETED)
    gone = [event for event in told if event.container_event_type == DELETED]
    assert [event.container_id for event in gone] == [inside, pod]
    assert gone[-1].pod_sandbox_status.metadata.uid == "uid-pod"
    client.RemovePodSandbox(pb.RemovePodSandboxRequest(pod_sandbox_id=pod))
    assert listener.rest() == []


@host
def test_every_subscriber_hears_and_those_who_leave_are_forgotten(client: Client, listener: Listener) -> None:
    others = [Listener(client) for _ in range(20)]
    time.sleep(0.3)
    for other in others[1:]:
        other.leave()
    pod = sandbox(client)
    assert listener.kinds(2) == others[0].kinds(2) == [(pod, CREATED), (pod, STARTED)]
    others[0].leave()


def _pods(serving: Daemon) -> Pods:
    from orlop.kit.config import Config

    return Pods(serving.node, Config.load(serving.node))


# Subscribers, without a daemon


def _event(number: int) -> pb.ContainerEventResponse:
    return pb.ContainerEventResponse(container_id=str(number))


def test_a_subscriber_that_does_not_read_is_cut_off_and_keeps_nothing() -> None:
    async def story() -> None:
        subscriber = events_module._Subscriber()
        for number in range(limits.CRI_EVENTS + 500):
            subscriber.put(_event(number))
        assert subscriber._waiting.qsize() == 1
        with pytest.raises(LimitExceeded):
            async for _ in subscriber.events():
                raise AssertionError

    asyncio.run(story())


def test_a_subscriber_that_reads_has_everything_in_order() -> None:
    async def story() -> None:
        subscriber = events_module._Subscriber()
        for number in range(limits.CRI_EVENTS):
            subscriber.put(_event(number))
        subscriber.close()
        assert [each.container_id async for each in subscriber.events()] == [
            str(number) for number in range(limits.CRI_EVENTS)
        ]

    asyncio.run(story())


def test_whoever_stops_listening_is_forgotten() -> None:
    async def story() -> None:
        events = Events(None, Observer())  # type: ignore[arg-type]  # nothing is asked of the pods
        stream = events.subscribe()
        waiting = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(0)
        assert len(events._subscribers) == 1
        waiting.cancel()
        await asyncio.wait([waiting])
        assert not events._subscribers
        events.publish("1" * 64, "started")  # nobody listens: nothing is looked up

    asyncio.run(story())


def test_the_kernels_events_are_read_whole() -> None:
    def packed(mask: int, name: str) -> bytes:
        raw = name.encode().ljust(16 * (len(name) // 16 + 1), b"\0")
        return events_module._EVENT.pack(1, mask, 0, len(raw)) + raw

    identifier = "ab" * 32
    data = (
        packed(0x80, identifier) + packed(0x100, ".temporary") + events_module._EVENT.pack(-1, 0x4000, 0, 0)
    )
    assert list(events_module._names(data)) == [identifier, ""]
