"""The supervisor's port onto this machine: `orlop.pod`, images and volumes, called in threads."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Collection
from dataclasses import replace
from typing import ParamSpec, TypeVar

from orlop.image.pull import ImageSettings, Pulled
from orlop.kit.config import Config
from orlop.kit.errors import Denied, InvalidInput, NotFound, OrlopError, TimedOut
from orlop.kit.node import Node
from orlop.kit.tasks import in_thread
from orlop.pod.context import Pods
from orlop.pod.create_container import create_container
from orlop.pod.exec_container import exec_sync
from orlop.pod.model import Container, ContainerConfig
from orlop.pod.recover import recover
from orlop.pod.remove_container import remove_container
from orlop.pod.remove_sandbox import remove_sandbox
from orlop.pod.run_sandbox import run_sandbox
from orlop.pod.start_container import start_container
from orlop.pod.stop_container import stop_container
from orlop.pod.stop_sandbox import stop_sandbox
from orlop.system import volumes
from orlop.system.kube import translate
from orlop.system.kube.facts import facts
from orlop.system.kube.model import Container as Declared
from orlop.system.pull_images import pull_one
from orlop.system.records import PodRecord, Records
from orlop.system.supervise import logs
from orlop.system.supervise.model import Seen
from orlop.system.supervise.port import Unusable

_log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

_POLICIES = {"Always": "missing", "IfNotPresent": "missing", "Never": "never"}


class PodLayer:
    """Implements `port.Pods`."""

    def __init__(self, node: Node, config: Config, records: Records, pods: Pods) -> None:
        self._node = node
        self._records = records
        self._pods = pods
        self._images = config.section("image", ImageSettings)
        self._logs = config.section("supervise", logs.LogSettings)
        self._preparing: dict[str, threading.Lock] = {}

    @classmethod
    async def open(cls, node: Node, config: Config, records: Records) -> PodLayer:
        """Finishes what a crash or a reboot left undone, and removes what is nobody's."""
        pods = await in_thread(Pods, node, config)
        layer = cls(node, config, records, pods)
        await in_thread(layer._sweep)
        try:
            await in_thread(recover, pods)
        except OrlopError as error:  # what is declared is kept all the same
            _log.warning("recovery: %s", error)
        return layer

    async def observe(self, uid: str) -> Seen:
        return await in_thread(observe, self._pods, self._node, uid)

    async def ensure_image(self, pod: PodRecord, container: str) -> None:
        """`play` has asked the registry where the policy is Always; later starts take what is here."""
        declared = _declared(pod, container)
        await self._pull(pod, declared.image, _POLICIES[declared.pull_policy])

    async def make_sandbox(self, pod: PodRecord, attempt: int) -> None:
        def make() -> None:
            config = translate.sandbox_config(pod.desired, facts(self._node), attempt=attempt)
            run_sandbox(self._pods, config)

        await in_thread(make)

    async def stop_sandbox(self, sandbox_id: str) -> None:
        await in_thread(stop_sandbox, self._pods, sandbox_id, 0.0)

    async def remove_sandbox(self, sandbox_id: str) -> None:
        await in_thread(remove_sandbox, self._pods, sandbox_id)

    async def start(self, pod: PodRecord, sandbox_id: str, container: str, attempt: int) -> None:
        declared = _declared(pod, container)
        image = await self._pull(pod, declared.image, "never")

        def start() -> None:
            try:
                config = self._config(pod, sandbox_id, declared, image, attempt)
            except (NotFound, InvalidInput, Denied) as error:
                raise Unusable(error.subject, error.cause, hint=error.hint) from error
            made = create_container(self._pods, sandbox_id, config)
            if made.state != "created":
                return
            try:
                start_container(self._pods, made.id)
            except OrlopError:
                remove_container(self._pods, made.id, force=True)  # else its monitor stays
                raise

        await in_thread(start)

    async def stop(self, container_id: str, grace: float) -> None:
        await _abandonable(stop_container, self._pods, container_id, grace)

    async def remove(self, container_id: str) -> None:
        await in_thread(remove_container, self._pods, container_id, force=True)

    async def execute(self, container_id: str, command: tuple[str, ...], limit: float) -> tuple[int, str]:
        result = await _abandonable(exec_sync, self._pods, container_id, command, timeout=limit)
        if result.timed_out:
            cause = f"did not end within {limit:g} s"
            raise TimedOut(" ".join(command), cause, hint="see what the command waits for")
        return result.exit_code, (result.stdout + result.stderr).decode(errors="replace")

    async def refresh(self, pod: PodRecord) -> None:
        def write() -> None:
            seen = observe(self._pods, self._node, pod.uid)
            if seen.sandbox is not None:
                self._prepare(pod, seen.sandbox.addresses.ips)

        await in_thread(write)

    async def rotate_logs(self, container_ids: Collection[str]) -> None:
        await in_thread(logs.rotate_grown, self._pods, container_ids, self._logs)

    async def forget(self, pod: PodRecord) -> None:
        await in_thread(volumes.cleanup, self._node, pod.uid)
        self._preparing.pop(pod.uid, None)

    async def _pull(self, pod: PodRecord, image: str, policy: str) -> Pulled:
        data = await in_thread(self._records.data)
        return await pull_one(self._node, pod.desired, data, image, policy, self._pods.store, self._images)

    def _config(
        self, pod: PodRecord, sandbox_id: str, declared: Declared, image: Pulled, attempt: int
    ) -> ContainerConfig:
        ips = self._pods.sandbox(sandbox_id).addresses.ips
        config = translate.container_config(
            pod.desired,
            declared,
            facts(self._node, pod_ips=ips),
            self._records.data(),
            volumes=self._prepare(pod, ips),
            termination_log=volumes.termination_log(self._node, pod.uid, declared.name),
            image_user=self._pods.store.image_config(str(image.id)).user,
            attempt=attempt,
        )
        return replace(config, image=image.name)

    def _prepare(self, pod: PodRecord, ips: tuple[str, ...]) -> dict[str, str]:
        with self._preparing.setdefault(pod.uid, threading.Lock()):
            made = volumes.prepare(
                self._node, pod.desired, self._records.data(), facts(self._node, pod_ips=ips)
            )
        return dict(made)

    def _sweep(self) -> None:
        """Volumes of pods that nobody knows any more: a crash came between forgetting and removing."""
        known = {record.uid for record in self._records.pods()}
        for uid in volumes.leftovers(self._node):
            if uid not in known:
                volumes.cleanup(self._node, uid)


def observe(pods: Pods, node: Node, uid: str) -> Seen:
    """What there is of the pod `uid`: its newest sandbox with its containers, and older sandboxes."""
    mine = sorted(pods.sandboxes(uid=uid), key=lambda sandbox: sandbox.config.attempt)
    if not mine:
        return Seen()
    newest = mine[-1]
    containers = [_with_last_words(node, uid, each) for each in pods.containers(newest.id)]
    return Seen(newest, tuple(containers), tuple(mine[:-1]))


def _with_last_words(node: Node, uid: str, container: Container) -> Container:
    """An exited container with what it wrote to its termination log as its message."""
    if container.state != "exited" or container.message:
        return container
    try:
        words = volumes.read_termination(node, uid, container.config.name)
    except OrlopError:
        return container
    return replace(container, message=words.strip())


def _declared(pod: PodRecord, name: str) -> Declared:
    return next(each for each in pod.desired.pod.every_container if each.name == name)


async def _abandonable(function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Run what may take long in a thread that nobody waits for when the caller is cancelled or ends.

    Only for what is harmless to leave or to do twice: the next supervisor asks for it again.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]

    def work() -> None:
        result: T | None = None
        failure: BaseException | None = None
        try:
            result = function(*args, **kwargs)
        except BaseException as error:  # handed over: it is raised where the caller waits
            failure = error
        if not loop.is_closed():
            loop.call_soon_threadsafe(settle, result, failure)

    threading.Thread(target=work, daemon=True, name=getattr(function, "__name__", "work")).start()
    return await future
