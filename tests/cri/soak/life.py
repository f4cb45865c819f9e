"""The life of one pod of the soak: what it is, and what must be true of it whatever happens to the daemon."""

from __future__ import annotations

import os
import random
import time
from dataclasses import dataclass
from pathlib import Path

import grpc

from orlop.cri.proto import cri_pb2 as pb
from tests.cri.soak.kubelet import Kubelet

BUSYBOX = "docker.io/library/busybox:latest"
_PORTS = 10000 + os.getpid() % 200 * 100  # a hundred, which no other run of this test uses at the moment
_USERS = 65536
_WAIT = 60.0  # seconds for a container to end by itself
_EXEC_ROUNDS = 3

#: Numbered lines at a pace, then an end of its own: kills of the daemon fall into its life.
COUNTS = "i=0; while [ $i -lt {lines} ]; do echo line $i; i=$((i+1)); sleep {pause}; done; exit {code}"
#: It ends when it is asked to.
OBEYS = "trap 'exit {code}' TERM; touch /tmp/listening; while :; do sleep 1000 & wait $!; done"
#: A log that grows fast.
FLOODS = "i=0; while [ $i -lt {lines} ]; do echo line $i {padding}; i=$((i+1)); done; exit {code}"


@dataclass(frozen=True)
class Made:
    """A container, and how it is to end."""

    id: str
    name: str
    kind: str  # "counts", "floods" or "obeys"
    code: int
    lines: int
    tty: bool
    log: Path
    padding: str = ""

    @property
    def rotated(self) -> Path:
        return self.log.with_name("0.log.1")


class Life:
    """The first pods of a run have all the features between them, the others have them by chance.

    Pod `number` of the run `seed`, in the folder of logs `logs`, below the cgroup `parent`."""

    def __init__(self, kubelet: Kubelet, number: int, seed: int, logs: Path, parent: str) -> None:
        self._ask = kubelet.ask
        self._kubelet = kubelet
        self._chance = random.Random(f"{seed}/{number}")
        self._number = number
        self._logs = logs / f"pod-{number}"
        self._parent = f"{parent}/pod{number}" if self._maybe(0.7, 0, 3) else ""
        self._config = self._pod()
        self.sandbox = ""

    def live(self) -> None:
        """From its request to its removal. Raises AssertionError where a promise is broken."""
        chance = self._chance
        run = pb.RunPodSandboxRequest(config=self._config)
        self.sandbox = self._ask("RunPodSandbox", run).pod_sandbox_id
        if chance.random() < 0.3:
            assert self._ask("RunPodSandbox", run).pod_sandbox_id == self.sandbox
        containers = [self._container(index) for index in range(chance.choice((1, 1, 2)))]
        for made in containers:
            if made.kind == "obeys":
                self._execute(made)
        for made in containers:
            self._end(made)
        self._remove(containers)

    def _maybe(self, probability: float, *numbers: int) -> bool:
        """By chance, and always for the pods of these numbers."""
        return self._chance.random() < probability or self._number in numbers

    def _pod(self) -> pb.PodSandboxConfig:
        number = self._number
        on_network = self._maybe(0.85, 1, 2, 3, 4)
        options = pb.NamespaceOption(
            network=pb.POD if on_network else pb.NODE,
            pid=pb.POD if self._maybe(0.25, 0, 1) else pb.CONTAINER,
        )
        if on_network and self._maybe(0.25, 1, 2):
            ids = [pb.IDMapping(host_id=(number + 2) * _USERS, container_id=0, length=_USERS)]
            options.userns_options.CopyFrom(pb.UserNamespace(mode=pb.POD, uids=ids, gids=ids))
        ports = []
        if on_network and self._maybe(0.3, 3):
            ports = [pb.PortMapping(container_port=80, host_port=_PORTS + number % 100)]
        return pb.PodSandboxConfig(
            metadata=pb.PodSandboxMetadata(name=f"pod-{number}", uid=f"uid-{number}", namespace="soak"),
            hostname=f"pod-{number}" if on_network else "",
            log_directory=str(self._logs),
            port_mappings=ports,
            linux=pb.LinuxPodSandboxConfig(
                cgroup_parent=self._parent,
                security_context=pb.LinuxSandboxSecurityContext(namespace_options=options),
            ),
        )

    def _container(self, index: int) -> Made:
        """Created and started; both asked again now and then."""
        chance, name = self._chance, f"c{index}"
        kind = chance.choice(("counts", "counts", "obeys", "obeys", "floods"))
        tty = kind == "obeys" and chance.random() < 0.3
        code = chance.randrange(1, 100)
        lines = chance.randrange(20, 100) if kind == "counts" else 3000 if kind == "floods" else 0
        padding = "x" * 200
        script = {"counts": COUNTS, "floods": FLOODS, "obeys": OBEYS}[kind].format(
            lines=lines, code=code, padding=padding, pause=chance.choice((0.01, 0.02, 0.04))
        )
        options = self._config.linux.security_context.namespace_options
        config = pb.ContainerConfig(
            metadata=pb.ContainerMetadata(name=name),
            image=pb.ImageSpec(image=BUSYBOX),
            command=["sh", "-c", script],
            log_path=f"{name}/0.log",
            tty=tty,
            stdin=tty,
            linux=pb.LinuxContainerConfig(
                resources=pb.LinuxContainerResources(memory_limit_in_bytes=64 << 20),
                security_context=pb.LinuxContainerSecurityContext(namespace_options=options),
            ),
        )
        if self._maybe(0.25, 2, 4):
            image = pb.Mount(container_path="/image", image=pb.ImageSpec(image=BUSYBOX), readonly=True)
            config.mounts.append(image)
        request = pb.CreateContainerRequest(
            pod_sandbox_id=self.sandbox, config=config, sandbox_config=self._config
        )
        identifier = self._ask("CreateContainer", request).container_id
        if chance.random() < 0.2:
            assert self._ask("CreateContainer", request).container_id == identifier
        self._start(identifier)
        log = self._logs / name / "0.log"
        return Made(identifier, name, kind, code, lines, tty, log, padding if kind == "floods" else "")

    def _start(self, identifier: str) -> None:
        try:
            self._ask("StartContainer", pb.StartContainerRequest(container_id=identifier))
        except grpc.RpcError as error:  # the first of several started it, and it has ended since
            assert error.code() == grpc.StatusCode.FAILED_PRECONDITION, error
            assert self._kubelet.repeats > 0, error
            assert self._status(identifier).state == pb.CONTAINER_EXITED, error

    def _execute(self, made: Made) -> None:
        for index in range(self._chance.randrange(1, _EXEC_ROUNDS + 1)):
            word, code = f"{self._number}-{index}", self._chance.randrange(100)
            request = pb.ExecSyncRequest(
                container_id=made.id, cmd=["sh", "-c", f"echo {word}; echo e >&2; exit {code}"], timeout=30
            )
            done = self._ask("ExecSync", request)
            assert (done.stdout, done.stderr, done.exit_code) == (f"{word}\n".encode(), b"e\n", code)
        if self._chance.random() < 0.5:  # nobody waits for it; it goes with its container
            cut = pb.ExecSyncRequest(container_id=made.id, cmd=["sleep", "1000"])
            self._kubelet.once("ExecSync", cut, self._chance.uniform(0.02, 0.4))
        self._until_it_listens(made)

    def _until_it_listens(self, made: Made) -> None:
        request = pb.ExecSyncRequest(container_id=made.id, cmd=["test", "-e", "/tmp/listening"], timeout=30)
        deadline = time.monotonic() + _WAIT
        while self._ask("ExecSync", request).exit_code != 0:
            assert time.monotonic() < deadline, f"{made} does not listen"
            time.sleep(0.02)

    def _end(self, made: Made) -> None:
        """It ends, and its code and its log are exactly those that it had."""
        if made.kind == "obeys":
            self._ask("StopContainer", pb.StopContainerRequest(container_id=made.id, timeout=30))
        if made.kind == "counts" and self._maybe(0.4):
            self._rotate(made)
        deadline = time.monotonic() + _WAIT
        while (status := self._status(made.id)).state != pb.CONTAINER_EXITED:
            assert status.state == pb.CONTAINER_RUNNING, status
            assert time.monotonic() < deadline, f"{made} does not end"
            time.sleep(0.05)
        assert (status.exit_code, status.reason) == (made.code, "Error"), f"{made}: {status}"
        assert status.started_at <= status.finished_at
        self._check_log(made)

    def _rotate(self, made: Made) -> None:
        """As the kubelet rotates a log: no line is lost, however often the new file is asked for."""
        made.log.rename(made.rotated)
        try:
            self._ask("ReopenContainerLog", pb.ReopenContainerLogRequest(container_id=made.id))
        except grpc.RpcError as error:  # it has ended
            assert error.code() == grpc.StatusCode.FAILED_PRECONDITION, error

    def _check_log(self, made: Made) -> None:
        wanted = [f"line {number} {made.padding}".rstrip() for number in range(made.lines)]
        deadline = time.monotonic() + 5  # conmon writes the end of the log about when it writes the code
        while (found := written(made.rotated) + written(made.log)) != wanted and time.monotonic() < deadline:
            time.sleep(0.05)
        assert found == wanted, f"{made}: {len(found)} lines, the last {found[-1:]}"

    def _status(self, identifier: str) -> pb.ContainerStatus:
        request = pb.ContainerStatusRequest(container_id=identifier)
        status: pb.ContainerStatus = self._ask("ContainerStatus", request).status
        return status

    def _remove(self, containers: list[Made]) -> None:
        """As the kubelet does, or with less ceremony."""
        chance = self._chance
        if chance.random() < 0.6:
            for made in containers:
                self._ask("RemoveContainer", pb.RemoveContainerRequest(container_id=made.id))
        if chance.random() < 0.8:
            self._ask("StopPodSandbox", pb.StopPodSandboxRequest(pod_sandbox_id=self.sandbox))
            status = self._ask(
                "PodSandboxStatus", pb.PodSandboxStatusRequest(pod_sandbox_id=self.sandbox)
            ).status
            assert status.state == pb.SANDBOX_NOTREADY
        self._ask("RemovePodSandbox", pb.RemovePodSandboxRequest(pod_sandbox_id=self.sandbox))
        try:
            self._ask("PodSandboxStatus", pb.PodSandboxStatusRequest(pod_sandbox_id=self.sandbox))
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.NOT_FOUND, error
        else:
            raise AssertionError(f"{self.sandbox} is still there")


def written(log: Path) -> list[str]:
    """The lines of a log (TIME STREAM P|F TEXT, a line in parts where P says so), without its decoration."""
    if not os.path.exists(log):
        return []
    found, begun = [], ""
    for entry in log.read_text(encoding="utf-8").splitlines():
        _, _, kind, text = entry.split(" ", 3)
        begun += text
        if kind == "F":
            found.append(begun)
            begun = ""
    return [*found, begun] if begun else found
