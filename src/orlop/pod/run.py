"""A pod with one container, made and started in one go: the fast way of `orlop run`.

The two records are one transaction; the network is asked in a thread while the root is mounted and the
runtime creates the container; the start waits for both.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time

from orlop.kit import locks
from orlop.kit.errors import Conflict
from orlop.network.model import Addresses
from orlop.pod import codec, container, init, refresh, sandbox, teardown
from orlop.pod.context import Pods, new_id
from orlop.pod.create_container import create, make_root
from orlop.pod.model import ContainerConfig, SandboxConfig
from orlop.pod.records import READY, RUNNING, update
from orlop.pod.remove_container import remove_container
from orlop.runtime.cgroups.prompt import PromptMoves

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from orlop.image.config import ImageConfig
    from orlop.pod.model import Container
    from orlop.runtime.attach import AttachSession

_HEAD_START = 0.005  # seconds in which the main thread has started conmon, undisturbed


class Running:
    """What `run_once` started. `session` carries its streams, None where nobody is attached."""

    def __init__(
        self,
        pods: Pods,
        sandbox_id: str,
        container_id: str,
        session: AttachSession | None,
        owner: AbstractContextManager[object] | None,
    ) -> None:
        self._pods = pods
        self.sandbox_id = sandbox_id
        self.container_id = container_id
        self.session = session
        self._owner = owner

    def wait(self, timeout: float | None = None) -> Container:
        """The container once it has ended, or as it is after `timeout` seconds."""
        from orlop.pod.wait_container import wait_container

        return wait_container(self._pods, self.container_id, timeout)

    def remove(self) -> None:
        """Remove the container and its pod, as `--rm` asks for; it is killed where it still runs."""
        remove_pair(self._pods, self.sandbox_id, self.container_id)
        self.release()

    def release(self) -> None:
        """Let go of it: it goes on, and nobody here will remove it."""
        if self._owner is not None:
            self._owner.__exit__(None, None, None)
            self._owner = None


def run_once(
    pods: Pods,
    pod: SandboxConfig,
    config: ContainerConfig,
    *,
    attached: bool,
    meanwhile: Callable[[], None] = lambda: None,
) -> Running:
    """Make the pod and its container, and start it.

    `attached`: with a session for its streams, opened before it starts, so that nothing is missed; and with
    `config.remove`, the caller calls `Running.remove`. Otherwise conmon has it removed after its end.
    `meanwhile` is called, in a thread, while the runtime works and an attached caller is idle. Raises
    Conflict where the pod's name is taken, and what run_sandbox, create_container and start_container raise;
    after an error nothing is left.
    """
    _configured(pods)
    with PromptMoves():
        sandbox.validate(pod)
        pods.admit(pod)
        container.validate(config)
        image_id, image = container.image_of(pods, config)
        sandbox_id, container_id = new_id(), new_id()
        row = container.row(pods, container_id, sandbox_id, config, image_id, pod.log_directory)
        owner = own(pods, container_id) if config.remove and attached else None
        try:
            with pods.claim(sandbox_id), pods.claim(container_id):
                with pods.gate():
                    if not pods.records.insert_pair(sandbox.row(pods, sandbox_id, pod), row):
                        raise _taken(pod)
                ahead = threading.Thread(target=_import_ahead, args=(meanwhile,), daemon=True)
                session = _start(
                    pods, sandbox_id, pod, row, config, image_id, image, ahead if attached else None
                )
        except BaseException:
            _undo(pods, sandbox_id, container_id)
            if owner is not None:
                owner.__exit__(None, None, None)
            raise
        return Running(pods, sandbox_id, container_id, session, owner)


def own(pods: Pods, container_id: str) -> AbstractContextManager[int]:
    """Say that this process removes the container after its end; who finds the lock free does it instead."""
    owner = locks.hold(owner_path(pods, container_id))
    owner.__enter__()
    return owner


def owner_path(pods: Pods, container_id: str) -> str:
    return pods.claim_path(container_id) + ".owner"


def remove_pair(pods: Pods, sandbox_id: str, container_id: str) -> None:
    """Remove a container and, if it is the only one there, its pod: network and runtime at the same time."""
    row = pods.records.row("sandboxes", sandbox_id)
    if row is None:
        return
    others = pods.records.rows("containers", "sandbox_id = ? AND id <> ?", (sandbox_id, container_id))
    if others:
        remove_container(pods, container_id, force=True)
        return
    with pods.claim(sandbox_id), pods.claim(container_id):
        sandbox.at_once(
            [
                lambda: sandbox.detach(pods, sandbox_id) if row["attached"] else None,
                lambda: container.dismantle(pods, container_id, pods.own_log(container_id)),
            ]
        )
        sandbox.dismantle(pods, sandbox_id, attached=False, has_init=init.recorded(row))
        pods.records.delete_pair(sandbox_id, container_id)
        pods.release_claim(container_id)
        pods.release_claim(sandbox_id)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(owner_path(pods, container_id))
    teardown.when_empty(pods)


def _start(
    pods: Pods,
    sandbox_id: str,
    pod: SandboxConfig,
    row: dict[str, object],
    config: ContainerConfig,
    image_id: str,
    image: ImageConfig,
    ahead: threading.Thread | None,
) -> AttachSession | None:
    """Create the container while the network gives addresses, then start it and record both."""
    container_id = str(row["id"])
    pending = _Sandboxing(pods, sandbox_id, pod)
    try:
        if pod.uid_mappings:  # the root is mounted through it
            pending.prepared()
        root, process = make_root(pods, row, pod, config, image_id, image)
        pending.prepared()
        init_pid = init.start(pods, sandbox_id, pod) if init.wanted(pod) else 0
        if ahead is not None:
            ahead.start()
        pid = create(pods, row, sandbox_id, pod, config, process, root, unattended=ahead is None)
        pid_start = refresh.start_time(pid)
    finally:
        addresses = pending.attached()
    session = pods.engine.attach(container_id) if ahead is not None else None
    started = pods.now()
    pods.engine.start(container_id)
    with pods.records.database.transaction() as connection:
        update(
            connection,
            "sandboxes",
            sandbox_id,
            state=READY,
            addresses=codec.dumps(addresses),
            init_pid=init_pid,
        )
        update(
            connection,
            "containers",
            container_id,
            state=RUNNING,
            started=started,
            pid=pid,
            pid_start=pid_start,
            process=codec.dumps(process),
        )
    return session


class _Sandboxing:
    """The sandbox in a thread of its own: namespaces and files, which the container waits for; then the
    network, which its start waits for."""

    def __init__(self, pods: Pods, sandbox_id: str, pod: SandboxConfig) -> None:
        self._addresses = Addresses()
        self._failure: BaseException | None = None
        self._prepared = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(pods, sandbox_id, pod))
        self._thread.start()

    def prepared(self) -> None:
        """The namespaces and files are there; raises what kept them from it."""
        self._prepared.wait()
        if self._failure is not None:
            raise self._failure

    def attached(self) -> Addresses:
        """The addresses; raises what kept them from us, unless another failure is on its way up already."""
        self._thread.join()
        if self._failure is not None and sys.exc_info()[0] is None:
            raise self._failure
        return self._addresses

    def _run(self, pods: Pods, sandbox_id: str, pod: SandboxConfig) -> None:
        try:
            sandbox.prepare(pods, sandbox_id, pod)
            self._prepared.set()
            self._addresses = sandbox.attach(pods, sandbox_id, pod)
        except BaseException as error:
            self._failure = error
        finally:
            self._prepared.set()


def _configured(pods: Pods) -> None:
    """What the configuration says wrongly is told before anything is recorded."""
    for section, part in (("runtime", "engine"), ("network", "network")):
        if section in pods.config.sections():  # else it is made where others work meanwhile
            getattr(pods, part)


def _import_ahead(meanwhile: Callable[[], None]) -> None:
    """What is needed next, imported while the runtime creates the container and this process is idle."""
    time.sleep(_HEAD_START)
    import orlop.pod.wait_container
    import orlop.runtime.attach
    import orlop.runtime.delete  # noqa: F401

    meanwhile()


def _undo(pods: Pods, sandbox_id: str, container_id: str) -> None:
    """Take back what could not be started; the error that led here is what counts."""
    try:
        remove_pair(pods, sandbox_id, container_id)
    except Exception as error:
        import logging  # only failures pay for it

        logging.getLogger(__name__).warning("%s: %s; recovery goes on", sandbox_id[:12], error)


def _taken(pod: SandboxConfig) -> Conflict:
    return Conflict(
        f"pod {pod.namespace}/{pod.name}",
        "there is one of that name",
        hint=f"choose another name, or remove it: orlop pod remove {pod.name}",
    )
