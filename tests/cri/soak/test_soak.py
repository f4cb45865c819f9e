"""The soak (docs/serve.md: the daemon may be killed at any instant): many pods from 8 clients while the
daemon is killed with -9 at random. Every request is answered in the end, repeats join, no exit code and no
log line is lost, and afterwards the machine is as it was before.

ORLOP_SOAK_PODS (100), ORLOP_SOAK_CLIENTS (8), ORLOP_SOAK_SEED (random, printed)
"""

from __future__ import annotations

import contextlib
import os
import queue
import random
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from orlop.cri.proto import cri_pb2 as pb
from orlop.kit.node import Node
from orlop.runtime.cgroups.port import Cgroups
from tests.cri.soak.kubelet import Figures, Kubelet
from tests.cri.soak.life import Life
from tests.cri.soak.traces import daemon_has, differences, settled, traces
from tests.support.cri import Client, Daemon, daemon
from tests.support.node import temporary_node

PODS = int(os.environ.get("ORLOP_SOAK_PODS", "100"))
CLIENTS = int(os.environ.get("ORLOP_SOAK_CLIENTS", "8"))
SEED = int(os.environ.get("ORLOP_SOAK_SEED") or random.randrange(1 << 31))

pytestmark = [pytest.mark.host, pytest.mark.timeout(120 + 4 * PODS)]


def test_pods_come_and_go_while_the_daemon_is_killed_and_nothing_is_left(tmp_path: Path) -> None:
    print(f"ORLOP_SOAK_SEED={SEED} ORLOP_SOAK_PODS={PODS}")
    # What it says of requests that were killed in their middle is printed; what counts is what is left.
    with temporary_node() as node, daemon(node, strict=False) as running, _parents(node) as parent:
        _round(running, range(CLIENTS), SEED - 1, tmp_path, parent)  # what is made once is there then
        before = traces(node, parent, daemon=running.pid)
        begun = time.monotonic()
        with _killing(running) as kills:
            figures = _round(running, range(PODS), SEED, tmp_path, parent)
        seconds = time.monotonic() - begun
        print(f"{PODS} pods, {len(kills)} kills, {seconds:.1f} s, of which starts took {sum(kills):.1f} s")
        print("repeated:", dict(figures.repeated.most_common()))
        print("slowest:", figures.slowest)
        print("warnings:", *_warnings(running), sep="\n  ")
        unknown = _remove_the_unknown(running)
        assert unknown == [], "requests that nobody waited for any more made these"
        left = settled(lambda: differences(before, traces(node, parent, daemon=running.pid)))
        assert not left, f"seed {SEED}: " + "\n".join(left)
        assert kills, "the daemon was never killed"
        _does_not_grow(running, tmp_path, parent)


def _warnings(running: Daemon) -> list[str]:
    """What the daemons complained of most, for whoever reads the output."""
    lines = [line for line in running.said().splitlines() if re.search("level=(warning|error)", line)]
    texts = Counter(re.sub(r"[0-9a-f]{8,}|\d+", "#", line.partition(" ")[2])[:200] for line in lines)
    return [f"{count} x {text}" for text, count in texts.most_common(10)]


def _does_not_grow(running: Daemon, logs: Path, parent: str) -> None:
    """One daemon's descriptors, threads and children after many pods are what they were after a few."""
    for number in range(2):  # until all its threads are there
        _round(running, range(3 * CLIENTS), SEED + 1 + number, logs, parent)
    few = _at_rest(running)
    _round(running, range(PODS), SEED + 10, logs, parent)
    many = _at_rest(running)
    print("a daemon after few pods", few, "and after many", many)
    assert many["children"] == 0
    assert many["descriptors"] <= few["descriptors"]
    assert many["memory"] < few["memory"] * 1.25 + 4096


def _at_rest(running: Daemon) -> dict[str, int]:
    """What the daemon has once it has looked at what there is (it holds the processes that it listed last)
    and its clients have gone."""
    with Client(running.socket) as client:
        client.ListContainers(pb.ListContainersRequest())
    found = [daemon_has(running.pid)]
    for _ in range(20):
        time.sleep(0.1)
        found.append(daemon_has(running.pid))
    return min(found, key=lambda each: (each["children"], each["descriptors"]))


def _round(running: Daemon, numbers: range, seed: int, logs: Path, parent: str) -> Figures:
    """Let all these pods live, each client one at a time. Raises what the first one that failed raised."""
    waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
    for number in numbers:
        waiting.put(number)
    failures: list[BaseException] = []
    figures = Figures()

    def client(name: int) -> None:
        with Kubelet(running.socket, random.Random(f"{seed}/client/{name}"), figures) as kubelet:
            while not failures:
                try:
                    number = waiting.get_nowait()
                except queue.Empty:
                    return
                try:
                    Life(kubelet, number, seed, logs / str(seed), parent).live()
                except BaseException as error:
                    error.add_note(f"pod {number} of seed {seed}")
                    failures.append(error)

    threads = [threading.Thread(target=client, args=(name,)) for name in range(CLIENTS)]
    threads.append(threading.Thread(target=_relist, args=(running.socket, threads[:], failures)))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return figures


def _relist(socket: str, clients: list[threading.Thread], failures: list[BaseException]) -> None:
    """As the kubelet looks at what there is, about once a second: nothing is there twice."""
    with Kubelet(socket, random.Random(0), Figures(), impatient=0.0) as kubelet:
        while any(thread.is_alive() for thread in clients) and not failures:
            try:
                pods = kubelet.ask("ListPodSandbox", pb.ListPodSandboxRequest()).items
                containers = kubelet.ask("ListContainers", pb.ListContainersRequest()).containers
                kubelet.ask("ListContainerStats", pb.ListContainerStatsRequest())
                names = [(pod.metadata.name, pod.metadata.attempt) for pod in pods]
                assert len(set(names)) == len(names), names
                inside = [(each.pod_sandbox_id, each.metadata.name) for each in containers]
                assert len(set(inside)) == len(inside), inside
            except BaseException as error:
                failures.append(error)
            time.sleep(0.3)


@contextlib.contextmanager
def _killing(running: Daemon) -> Iterator[list[float]]:
    """The daemon is killed and started again at random during the block; how long each start took."""
    chance, starts, over = random.Random(f"{SEED}/kills"), list[float](), threading.Event()
    failures: list[BaseException] = []

    def killer() -> None:
        try:
            while not over.wait(
                _pace(starts) * chance.choice((chance.uniform(0, 0.3), chance.uniform(0.3, 3)))
            ):
                running.kill()
                time.sleep(chance.choice((0.0, chance.uniform(0, 0.5))))
                begun = time.monotonic()
                running.start()
                starts.append(time.monotonic() - begun)
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=killer)
    thread.start()
    try:
        yield starts
    finally:
        over.set()
        thread.join()
        if failures:
            raise failures[0]


def _pace(starts: list[float]) -> float:
    """A machine that is slow to start a daemon is slow in all: kills come so that work gets done between."""
    return min(4.0, max(1.0, starts[-1])) if starts else 1.0


def _remove_the_unknown(running: Daemon) -> list[str]:
    """What is still there though every client has removed its own; removed as the kubelet removes it."""
    with Client(running.socket) as client:
        found = client.ListPodSandbox(pb.ListPodSandboxRequest()).items
        for pod in found:
            client.StopPodSandbox(pb.StopPodSandboxRequest(pod_sandbox_id=pod.id))
            client.RemovePodSandbox(pb.RemovePodSandboxRequest(pod_sandbox_id=pod.id))
        return [str(pod.metadata) for pod in found]


@contextlib.contextmanager
def _parents(node: Node) -> Iterator[str]:
    """A cgroup of somebody else's, as the kubelet has one, that pods' cgroups are below."""
    parent = f"/soak-{node.identity}"
    cgroups = Cgroups.for_machine()
    try:
        yield parent
    finally:
        cgroups.remove(parent)
