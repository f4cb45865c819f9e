"""RUN: one command in a container of the node's own kind, whose writes become a layer.

The container is a pod's, recorded before it is made, and marked as a build's: when this process dies, the
next command of the node ends it and takes it away (pod.recover). Secrets enter on the way to the runtime
(pod.hooks), so that no record holds them: files lie in the pod's own small tmpfs, variables in the bundle,
which the state folder has and a reboot forgets.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from orlop.build.mountpoints import Mountpoints
from orlop.kit import files, limits
from orlop.kit.errors import Cancelled, InvalidInput, LimitExceeded, OrlopError
from orlop.pod import etc
from orlop.pod.context import Pods
from orlop.pod.hooks import Hooks
from orlop.pod.model import Container, ContainerConfig, Sandbox, SandboxConfig
from orlop.pod.records import BUILD_STEP
from orlop.pod.run import Running, run_once
from orlop.runtime.model import ContainerSpec, Mount, Process, Resources, Security

NAMESPACE = "build"
_HOSTNAME = "orlop-build"
_SIGKILL = 9


@dataclass(frozen=True)
class Secret:
    """A file at `target`, or the variable `env` where that is given, or both."""

    data: bytes
    target: str = ""
    env: str = ""
    mode: int = 0o400
    uid: int = 0
    gid: int = 0


@dataclass(frozen=True)
class Job:
    """One RUN. `network`: default, none or host. `overlays`: by destination of a bind mount that may be
    written to, a folder for what is written, which is thrown away."""

    image_id: str
    argv: tuple[str, ...]
    environment: tuple[tuple[str, str], ...]
    user: str
    workdir: str
    network: str = "default"
    privileged: bool = False
    mounts: tuple[Mount, ...] = ()
    overlays: Mapping[str, str] = field(default_factory=dict)
    secrets: tuple[Secret, ...] = ()
    hosts: tuple[tuple[str, tuple[str, ...]], ...] = ()
    resources: Resources = Resources()
    output: Callable[[bytes], None] = field(default=lambda data: None)


class Runner(Hooks):
    """Runs jobs, several at the same time. Thread-safe; `cancel` ends all of them."""

    def __init__(self, pods: Pods) -> None:
        """`pods` is this runner's own: it becomes the one that hears of its containers."""
        self._pods = pods
        self._jobs: dict[str, tuple[Job, Mountpoints]] = {}
        self._running: set[str] = set()
        self._cancelled = False
        self._lock = threading.Lock()
        pods.hooks = self

    def run(self, job: Job, commit: Callable[[str, Mountpoints], None]) -> int:
        """The command's exit code. Where it is 0, `commit(container ID, mount points)` was called before
        everything of the container was taken away. Raises what pods raise, and Cancelled.
        """
        name = f"build-{os.urandom(6).hex()}"
        mountpoints = Mountpoints()
        with self._lock:
            self._jobs[name] = (job, mountpoints)
        try:
            running = run_once(self._pods, _pod(name, job), _container(name, job), attached=True)
            try:
                code = self._follow(running, job)
                if code == 0:
                    commit(running.container_id, mountpoints)
            finally:
                running.remove()
        finally:
            with self._lock:
                self._jobs.pop(name, None)
        return code

    def cancel(self) -> None:
        """End every command; their `run` raises Cancelled."""
        with self._lock:
            self._cancelled = True
            running = list(self._running)
        for identifier in running:
            with contextlib.suppress(OrlopError):
                self._pods.engine.kill(identifier, _SIGKILL, all=True)

    def _follow(self, running: Running, job: Job) -> int:
        identifier = running.container_id
        with self._lock:
            self._running.add(identifier)
            cancelled = self._cancelled
        try:
            if cancelled:
                self._pods.engine.kill(identifier, _SIGKILL, all=True)
            assert running.session is not None
            with running.session as session:
                while (packet := session.receive()) is not None:
                    job.output(packet[1])
            ended = running.wait()
        finally:
            with self._lock:
                self._running.discard(identifier)
        if self._cancelled:
            raise Cancelled("the build", "was interrupted", hint="build again: it goes on from the cache")
        return ended.exit_code if ended.state == "exited" else 255

    # -- Hooks -------------------------------------------------------------------------------------------

    def wants(self, event: str, identifier: str) -> bool:
        return event == "create_container"

    def create_container(self, sandbox: Sandbox, container: Container, spec: ContainerSpec) -> ContainerSpec:
        """With the secrets and the writable mounts; what the image lacks of mount points is noted."""
        job, mountpoints = self._jobs[sandbox.config.name]
        mounts = [_as_asked(mount, job) for mount in spec.mounts]
        folder = etc.folder(self._pods.node, sandbox.id)
        environment = list(spec.process.env)
        for number, secret in enumerate(job.secrets):
            if secret.target:
                path = f"{folder}/secret-{number}"
                _write(path, secret)
                mounts.append(
                    Mount(secret.target, path, read_only=True, options=("nosuid", "nodev", "noexec"))
                )
            if secret.env:
                environment.append(f"{secret.env}={secret.data.decode(errors='surrogateescape')}")
        mountpoints.look(spec.root, [mount.destination for mount in mounts])
        process = Process(**{**vars(spec.process), "env": tuple(environment)})
        return ContainerSpec(**{**vars(spec), "mounts": tuple(mounts), "process": process})


def _pod(name: str, job: Job) -> SandboxConfig:
    return SandboxConfig(
        name=name,
        uid=name,
        namespace=NAMESPACE,
        hostname=_HOSTNAME,
        network={"default": "pod", "none": "none", "host": "host"}[job.network],
        host_aliases=job.hosts,
        privileged=job.privileged,
        manager="build",
    )


def _container(name: str, job: Job) -> ContainerConfig:
    return ContainerConfig(
        name=BUILD_STEP,
        image=job.image_id,
        command=job.argv,
        env=job.environment,
        working_dir=job.workdir,
        mounts=job.mounts,
        resources=job.resources,
        security=Security(privileged=job.privileged, user=job.user or "0"),
        remove=True,
    )


def _as_asked(mount: Mount, job: Job) -> Mount:
    """Images are mounted to run their programs as well; and a copy in the place of what may be written."""
    if mount.image:
        options = tuple(option for option in mount.options if option != "noexec")
        mount = Mount(**{**vars(mount), "options": options})
    folder = job.overlays.get(mount.destination)
    return mount if folder is None else _writable(mount, folder)


def _writable(mount: Mount, folder: str) -> Mount:
    """What is written over the mount goes to `folder`, which no one keeps."""
    top = os.open(mount.source, os.O_PATH | os.O_CLOEXEC)
    try:
        found = files.open_in_root(top, mount.sub_path or ".", os.O_PATH) if mount.sub_path else os.dup(top)
    finally:
        os.close(top)
    try:
        source = os.readlink(f"/proc/self/fd/{found}")
        status = os.fstat(found)
        os.makedirs(folder, exist_ok=True)
        if not stat.S_ISDIR(status.st_mode):
            shutil.copyfile(f"/proc/self/fd/{found}", f"{folder}/file")
            os.chmod(f"{folder}/file", status.st_mode & 0o7777)
            return Mount(mount.destination, f"{folder}/file")
    finally:
        os.close(found)
    for name in ("upper", "work"):
        os.mkdir(f"{folder}/{name}")
    os.chown(f"{folder}/upper", status.st_uid, status.st_gid)
    os.chmod(f"{folder}/upper", status.st_mode & 0o7777)
    paths = (("lowerdir", source), ("upperdir", f"{folder}/upper"), ("workdir", f"{folder}/work"))
    for _, path in paths:
        if any(letter in path for letter in ',:\\"'):
            raise InvalidInput(
                path, "has a letter that an overlay mount cannot take", hint="build in another folder"
            )
    options = tuple(f"{key}={path}" for key, path in paths)
    return Mount(mount.destination, "overlay", kind="overlay", options=options)


def _write(path: str, secret: Secret) -> None:
    if len(secret.data) > limits.SECRET_SIZE:
        raise LimitExceeded(
            "a secret", f"is longer than {limits.SECRET_SIZE} bytes", hint="mount a smaller one"
        )
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        view = memoryview(secret.data)
        while view:
            view = view[os.write(file, view) :]
        os.fchown(file, secret.uid, secret.gid)
        os.fchmod(file, secret.mode)
    finally:
        os.close(file)
