"""Make a container in a pod, ready to start."""

from __future__ import annotations

import sqlite3

from orlop.kit.errors import Conflict
from orlop.pod import codec, container, refresh, remove_container
from orlop.pod.context import Pods, as_container, as_sandbox, new_id
from orlop.pod.model import Container, ContainerConfig, SandboxConfig
from orlop.pod.records import CREATED, CREATING, READY, REMOVING, START_ERROR
from orlop.runtime.cgroups.prompt import PromptMoves
from orlop.runtime.errors import CommandDenied, CommandNotFound

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from orlop.image.config import ImageConfig
    from orlop.pod.merge import Merged
    from orlop.runtime.model import ContainerSpec


def create_container(
    pods: Pods, sandbox_id: str, config: ContainerConfig, *, program_later: bool = False
) -> Container:
    """The container (sandbox, name, attempt): a new one, or the one that is there, as it is.

    Requests for the same at the same time join. Raises NotFound (pod, image), Conflict (the pod is not
    ready), InvalidInput, and what `store` and `runtime` raise; after an error nothing is left.
    With `program_later` a program that cannot be executed is told by the container's start, as the kubelet
    wants it: a restart policy speaks of containers that there are.
    """
    container.validate(config)
    pod = pods.sandbox_row(sandbox_id)
    while True:
        row = _existing(pods, pod["id"], config)
        if row is None:
            made = _make(pods, pod, config, program_later)
            if made is not None:
                return made
            continue  # somebody else was first: join
        with pods.claim(row["id"]):  # waits for whoever makes it
            row = pods.records.row("containers", row["id"])
            if row is not None and row["state"] in (CREATING, REMOVING):  # of a process that died
                remove_container.finish(pods, row)
            elif row is not None:
                return as_container(row)


def _existing(pods: Pods, sandbox_id: str, config: ContainerConfig) -> sqlite3.Row | None:
    rows = pods.records.rows(
        "containers", "sandbox_id = ? AND name = ? AND attempt = ?", (sandbox_id, config.name, config.attempt)
    )
    return rows[0] if rows else None


def _make(pods: Pods, pod_row: sqlite3.Row, config: ContainerConfig, program_later: bool) -> Container | None:
    """A new container; None where one of that identity came into being meanwhile."""
    image_id, image = container.image_of(pods, config)
    identifier, sandbox_id = new_id(), pod_row["id"]
    pod = codec.sandbox_config(pod_row["config"])
    row = container.row(pods, identifier, sandbox_id, config, image_id, pod.log_directory)
    with PromptMoves(), pods.claim(identifier):
        if not pods.records.insert_container(row):
            pods.release_claim(identifier)
            _require_ready(pods, pod_row)
            return None
        try:
            root, process = make_root(pods, row, pod, config, image_id, image)
            pid = create(pods, row, sandbox_id, pod, config, process, root, unattended=config.remove)
            pods.records.update(
                "containers",
                identifier,
                state=CREATED,
                pid=pid,
                pid_start=refresh.start_time(pid),
                process=codec.dumps(process),
            )
            pods.tell("created_container", sandbox_id, identifier)
        except (CommandNotFound, CommandDenied) as error:
            if not program_later:
                remove_container.undo(pods, identifier)
                raise
            failed = {"state": CREATED, "reason": START_ERROR, "message": error.cause}
            pods.records.update("containers", identifier, **failed)
        except BaseException:
            remove_container.undo(pods, identifier)
            raise
        return as_container(pods.container_row(identifier))


def make_root(
    pods: Pods,
    row: dict[str, object],
    pod: SandboxConfig,
    config: ContainerConfig,
    image_id: str,
    image: ImageConfig,
) -> tuple[str, Merged]:
    """The mounted root, and what will run in it. Needs nothing of the sandbox but its user namespace."""
    container.log_folder(pods, str(row["log_path"]), pod.log_directory)
    return container.make_root(pods, row, image_id, image, config, pod)


def create(
    pods: Pods,
    row: dict[str, object],
    sandbox_id: str,
    pod: SandboxConfig,
    config: ContainerConfig,
    process: Merged,
    root: str,
    *,
    unattended: bool,
) -> int:
    """The created process's PID.

    `unattended`: nobody waits to remove it after its end, so conmon starts what does.
    """
    identifier = str(row["id"])
    log = str(row["log_path"])
    with container.pid_namespace(pods, identifier, sandbox_id, config.pid_target) as joined:
        spec = container.spec(pods, identifier, sandbox_id, pod, config, process, root, joined)
        pid = pods.engine.create(
            _adjusted(pods, identifier, sandbox_id, config, spec),
            pods.bundle(identifier),
            log_path=log,
            log_bound=not pod.log_directory,  # whoever says where logs are rotates them (the kubelet)
            stdin_once=config.stdin_once,
            exit_command=_exit_command(pods, identifier) if unattended else (),
            handler=pod.handler,
        )
    if pod.log_directory and log.startswith(pod.log_directory.rstrip("/") + "/"):
        container.check_opened_log(pods, identifier, log, pod.log_directory)
    return pid


def _adjusted(
    pods: Pods, identifier: str, sandbox_id: str, config: ContainerConfig, spec: ContainerSpec
) -> ContainerSpec:
    """With the devices of CDI, and what the hooks make of it."""
    if config.cdi_devices or any(key.startswith("cdi.k8s.io/") for key in config.annotations):
        from orlop.runtime.cdi import apply as cdi

        names = cdi.asked(config.cdi_devices, config.annotations)
        spec = cdi.apply(spec, names, pods.engine.settings.cdi_spec_dirs)
    hooks = pods.heard("create_container", identifier)
    if hooks is not None:
        about = as_sandbox(pods.sandbox_row(sandbox_id)), as_container(pods.container_row(identifier))
        spec = hooks.create_container(*about, spec)
    return spec


def _exit_command(pods: Pods, identifier: str) -> tuple[str, ...]:
    from orlop.pod import cleanup

    return cleanup.command(pods.node, identifier)


def _require_ready(pods: Pods, pod: sqlite3.Row) -> None:
    now = pods.records.row("sandboxes", pod["id"])
    if now is None or now["state"] != READY:
        raise Conflict(
            f"pod {pod['name']}", "is not ready, so no container can be made in it", hint="start a new pod"
        )
