"""The kubelet's requests against `orlop serve`, containerd and CRI-O: latency, throughput, memory.

All three have the same OCI runtime, the same CNI configuration and the same images; they are asked by the
same client, one after the other in each round, so that whatever else the machine does hits all of them.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from bench.cri_peers import PEERS, Peer
from bench.measure import tmpfs
from orlop.cri.proto import cri_pb2 as pb
from tests.support import images
from tests.support.cri import Client
from tests.support.registry import registry

CLIENTS = 8
_SLEEP = ("sleep", "100000")
_PARENT = "/orlop-bench"
_LOGS = "/var/tmp/orlop-bench-logs"
_MIB = 1024 * 1024


@dataclass
class Samples:
    """Seconds per operation and peer."""

    seconds: dict[str, dict[str, list[float]]] = field(default_factory=dict)

    def add(self, operation: str, peer: str, taken: float) -> None:
        self.seconds.setdefault(operation, {}).setdefault(peer, []).append(taken)

    def timed(self, operation: str, peer: str, work: Callable[[], object]) -> None:
        started = time.perf_counter()
        work()
        self.add(operation, peer, time.perf_counter() - started)


def percentile(values: list[float], share: float) -> float:
    """The value that `share` of them do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


class Node:
    """One daemon under measurement, and the pods made on it."""

    def __init__(self, peer: Peer, image: str) -> None:
        self.peer = peer
        self.image = image
        self.client = Client(peer.socket)
        self._count = 0

    def pull(self) -> None:
        self.client.PullImage(pb.PullImageRequest(image=pb.ImageSpec(image=self.image)), timeout=120)

    def pod(self) -> tuple[str, str]:
        """A pod with a running container: (sandbox ID, container ID)."""
        self._count += 1
        name = f"bench-{self._count}"
        metadata = pb.PodSandboxMetadata(name=name, uid=f"{name}-uid", namespace="bench")
        linux = pb.LinuxPodSandboxConfig(cgroup_parent=f"{_PARENT}/{self.peer.name}")
        linux.security_context.namespace_options.pid = pb.CONTAINER
        config = pb.PodSandboxConfig(metadata=metadata, hostname=name, log_directory=_LOGS)
        config.linux.CopyFrom(linux)
        sandbox = self.client.RunPodSandbox(
            pb.RunPodSandboxRequest(config=config), timeout=120
        ).pod_sandbox_id
        return sandbox, self.container(sandbox, config)

    def container(self, sandbox: str, config: pb.PodSandboxConfig) -> str:
        wanted = pb.ContainerConfig(
            metadata=pb.ContainerMetadata(name="main"),
            image=pb.ImageSpec(image=self.image, user_specified_image=self.image),
            command=list(_SLEEP),
            log_path="main.log",
        )
        wanted.linux.security_context.namespace_options.pid = pb.CONTAINER
        wanted.linux.security_context.seccomp.profile_type = pb.SecurityProfile.RuntimeDefault
        request = pb.CreateContainerRequest(pod_sandbox_id=sandbox, config=wanted, sandbox_config=config)
        made = self.client.CreateContainer(request, timeout=120).container_id
        self.client.StartContainer(pb.StartContainerRequest(container_id=made), timeout=120)
        return str(made)

    def exec(self, container: str) -> None:
        request = pb.ExecSyncRequest(container_id=container, cmd=["true"], timeout=30)
        answer = self.client.ExecSync(request, timeout=60)
        assert answer.exit_code == 0

    def stop(self, sandbox: str, container: str) -> None:
        """As the kubelet does: the container (which does not listen to SIGTERM: at once), then the pod."""
        self.client.StopContainer(pb.StopContainerRequest(container_id=container, timeout=0), timeout=120)

    def stop_pod(self, sandbox: str) -> None:
        self.client.StopPodSandbox(pb.StopPodSandboxRequest(pod_sandbox_id=sandbox), timeout=120)

    def remove(self, sandbox: str) -> None:
        self.client.RemovePodSandbox(pb.RemovePodSandboxRequest(pod_sandbox_id=sandbox), timeout=120)

    def discard(self, sandbox: str) -> None:
        """Its containers killed at once: none of them listens to SIGTERM."""
        wanted = pb.ContainerFilter(pod_sandbox_id=sandbox)
        for each in self.client.ListContainers(
            pb.ListContainersRequest(filter=wanted), timeout=60
        ).containers:
            self.client.StopContainer(pb.StopContainerRequest(container_id=each.id), timeout=120)
        self.stop_pod(sandbox)
        self.remove(sandbox)

    def list(self) -> int:
        return len(self.client.ListContainers(pb.ListContainersRequest(), timeout=60).containers)


def measure(folder: Path, *, rounds: int, peers: tuple[str, ...] = tuple(PEERS)) -> list[str]:
    """The tables, as Markdown."""
    with registry() as running, tmpfs(folder) as place, _cgroups(), contextlib.ExitStack() as stack:
        image = images.busybox(running)
        pause = images.busybox(running, "pause:1", config={"Cmd": ["sleep", "1000000"]})
        nodes = {}
        for name in peers:
            peer = stack.enter_context(PEERS[name](place / name, running.address, pause))
            nodes[name] = Node(peer, image)
            nodes[name].pull()
        samples = Samples()
        _one_client(nodes, samples, rounds)
        throughput = {name: _many_clients(node, samples, rounds) for name, node in nodes.items()}
        memory = {name: _memory(node) for name, node in nodes.items()}
        listing = _listing(nodes)
    return [*_latencies(samples), *_throughputs(throughput), *_memories(memory), *_listings(listing)]


@contextlib.contextmanager
def _cgroups() -> Iterator[None]:
    """The pods' parent groups, which the daemons leave to the kubelet, are gone afterwards."""
    try:
        yield
    finally:
        root, name = Path("/sys/fs/cgroup"), _PARENT.lstrip("/")
        for top in (root / name, *root.glob(f"*/{name}")):
            for place, _, _ in os.walk(top, topdown=False):
                with contextlib.suppress(OSError):
                    os.rmdir(place)
        shutil.rmtree(_LOGS, ignore_errors=True)


def _one_client(nodes: dict[str, Node], samples: Samples, rounds: int) -> None:
    for number in range(rounds + 2):
        into = samples if number >= 2 else Samples()  # the first two warm up
        for name, node in nodes.items():
            _life(node, name, into, "1 client")


def _many_clients(node: Node, samples: Samples, rounds: int) -> float:
    """Pods with a container made, exec'd, stopped and removed by CLIENTS at a time; pods started a second."""
    name = node.peer.name
    total = CLIENTS * max(3, rounds // 4)
    with ThreadPoolExecutor(CLIENTS) as pool:
        started = time.perf_counter()

        def start(_: int) -> tuple[str, str]:
            made: list[tuple[str, str]] = []
            samples.timed(f"pod + container, {CLIENTS} clients", name, lambda: made.append(node.pod()))
            return made[0]

        pods = list(pool.map(start, range(total)))
        rate = total / (time.perf_counter() - started)

        def end(pod: tuple[str, str]) -> None:
            samples.timed(f"ExecSync, {CLIENTS} clients", name, lambda: node.exec(pod[1]))
            _end(node, name, samples, pod, f"{CLIENTS} clients")

        list(pool.map(end, pods))
    return rate


def _life(node: Node, name: str, samples: Samples, kind: str) -> None:
    made: list[tuple[str, str]] = []
    samples.timed(f"pod + container, {kind}", name, lambda: made.append(node.pod()))
    for _ in range(3):
        samples.timed(f"ExecSync, {kind}", name, lambda: node.exec(made[0][1]))
    _end(node, name, samples, made[0], kind)


def _end(node: Node, name: str, samples: Samples, pod: tuple[str, str], kind: str) -> None:
    samples.timed(f"StopContainer, {kind}", name, lambda: node.stop(*pod))
    samples.timed(f"StopPodSandbox, {kind}", name, lambda: node.stop_pod(pod[0]))
    samples.timed(f"RemovePodSandbox, {kind}", name, lambda: node.remove(pod[0]))


def _memory(node: Node) -> list[tuple[int, float, float]]:
    """(pods, daemon's RSS in MiB, monitors' PSS in MiB a pod) at 0, 50 and 100 pods."""
    found = [(0, _rss(node.peer.pid), 0.0)]
    pods: list[tuple[str, str]] = []
    for wanted in (50, 100):
        with ThreadPoolExecutor(4) as pool:
            pods += list(pool.map(lambda _: node.pod(), range(wanted - len(pods))))
        time.sleep(2)
        found.append((wanted, _rss(node.peer.pid), _monitors(node.peer) / wanted))
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(node.discard, [sandbox for sandbox, _ in pods]))
    return found


def _listing(nodes: dict[str, Node]) -> dict[str, list[float]]:
    """Seconds of ListContainers with 500 of them: created, not started, ten a pod."""
    found: dict[str, list[float]] = {name: [] for name in nodes}
    for name, node in nodes.items():
        sandboxes = _created(node, 500)
        for _ in range(30):
            started = time.perf_counter()
            count = node.list()
            found[name].append(time.perf_counter() - started)
            assert count == 500, count
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(node.discard, sandboxes))
    return found


def _created(node: Node, count: int) -> list[str]:
    def pod(number: int) -> str:
        metadata = pb.PodSandboxMetadata(name=f"list-{number}", uid=f"list-{number}", namespace="bench")
        config = pb.PodSandboxConfig(metadata=metadata, log_directory=_LOGS)
        config.linux.cgroup_parent = f"{_PARENT}/{node.peer.name}"
        config.linux.security_context.namespace_options.pid = pb.CONTAINER
        made = node.client.RunPodSandbox(pb.RunPodSandboxRequest(config=config), timeout=120).pod_sandbox_id
        for each in range(10):
            wanted = pb.ContainerConfig(
                metadata=pb.ContainerMetadata(name=f"c{each}"),
                image=pb.ImageSpec(image=node.image, user_specified_image=node.image),
                command=list(_SLEEP),
                log_path=f"c{each}.log",
            )
            request = pb.CreateContainerRequest(pod_sandbox_id=made, config=wanted, sandbox_config=config)
            node.client.CreateContainer(request, timeout=120)
        return str(made)

    with ThreadPoolExecutor(4) as pool:
        return list(pool.map(pod, range(count // 10)))


def _rss(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024 / _MIB
    raise AssertionError(f"no RSS of {pid}")


def _monitors(peer: Peer) -> float:
    """PSS in MiB of every monitor process of this daemon's pods."""
    total = 0
    marks = [str(Path(peer.socket).parent), "bench"]
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            words = (entry / "cmdline").read_bytes().split(b"\0")
            program = Path(words[0].decode(errors="replace")).name
            line = b" ".join(words).decode(errors="replace")
            if program.startswith(peer.monitors) and marks[0] in line:
                lines = (entry / "smaps_rollup").read_text().splitlines()
                total += sum(int(each.split()[1]) for each in lines if each.startswith("Pss:"))
    return total * 1024 / _MIB


def _latencies(samples: Samples) -> list[str]:
    lines = ["", "### Requests of the kubelet (ms)", "", "| | peer | p50 | p99 | p50 to the faster peer |"]
    lines.append("|---|---|---:|---:|---:|")
    for operation, by_peer in samples.seconds.items():
        medians = {name: statistics.median(values) for name, values in by_peer.items()}
        best = min(
            (value for name, value in medians.items() if name != "orlop"), default=min(medians.values())
        )
        for name, values in by_peer.items():
            lines.append(
                f"| {operation} | {name} | {medians[name] * 1000:.1f} |"
                f" {percentile(values, 0.99) * 1000:.1f} | {medians[name] / best:.2f} |"
            )
    return lines


def _throughputs(rates: dict[str, float]) -> list[str]:
    best = max((rate for name, rate in rates.items() if name != "orlop"), default=max(rates.values()))
    lines = [
        "",
        f"### Pods with a container started by {CLIENTS} clients",
        "",
        "| | pods/s | to the faster peer |",
    ]
    return [
        *lines,
        "|---|---:|---:|",
        *(f"| {name} | {rate:.1f} | {rate / best:.2f} |" for name, rate in rates.items()),
    ]


def _memories(found: dict[str, list[tuple[int, float, float]]]) -> list[str]:
    lines = [
        "",
        "### Memory (MiB)",
        "",
        "| | pods | daemon RSS | monitors' PSS a pod |",
        "|---|---:|---:|---:|",
    ]
    for name, rows in found.items():
        lines += [f"| {name} | {pods} | {rss:.0f} | {pss:.2f} |" for pods, rss, pss in rows]
    return lines


def _listings(found: dict[str, list[float]]) -> list[str]:
    lines = ["", "### ListContainers, 500 containers (ms)", "", "| | p50 | p99 |", "|---|---:|---:|"]
    for name, values in found.items():
        lines.append(
            f"| {name} | {statistics.median(values) * 1000:.1f} | {percentile(values, 0.99) * 1000:.1f} |"
        )
    return lines
