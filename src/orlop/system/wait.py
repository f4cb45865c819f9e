"""Waiting until played pods are ready, or gone: the supervisor tells of changes, nobody polls."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TypeVar

from orlop.kit.config import Config
from orlop.kit.errors import OrlopError, TimedOut
from orlop.kit.node import Node
from orlop.kit.tasks import in_thread
from orlop.system.explain import PodsFailed, PodsNotReady, explained, failed
from orlop.system.records import PodRecord, Records
from orlop.system.status import PodStatus, status_of
from orlop.system.supervise.control import NotRunning, call
from orlop.system.supervise.start import ensure_running

T = TypeVar("T")

_LOOK = 2.0  # seconds after which one looks, although nothing was told


async def until_ready(
    node: Node,
    config: Config,
    records: Records,
    keys: Sequence[str],
    *,
    gone: Sequence[str],
    limit: float | None,
) -> list[PodStatus]:
    """The pods `keys` once all are ready or have succeeded, and the pods `gone` are gone.

    `limit`: 0 does not wait, None waits without end. Raises PodsFailed as soon as waiting is pointless, and
    PodsNotReady after `limit` seconds, each saying why.
    """

    def look() -> tuple[list[PodStatus], bool]:
        known = records.pods()
        found = [status_of(record) for record in known if record.wanted and record.key in keys]
        there = {f"Pod/{record.key}" for record in known}
        over = all(pod.settled for pod in found) and there.isdisjoint(gone)
        return found, over or any(failed(pod) for pod in found)

    if not keys and not gone:
        return []
    pods, over = await until(node, look, limit)
    unsettled = [pod for pod in pods if not pod.settled]
    if limit == 0:
        return pods
    if hopeless := [pod for pod in pods if failed(pod)]:
        raise PodsFailed(*await in_thread(_told, node, config, hopeless, "failed"), hint=_hint(hopeless))
    if not over:
        if not unsettled:
            raise still_there(gone, limit)
        told = await in_thread(_told, node, config, unsettled, f"not ready after {limit:g} s")
        raise PodsNotReady(*told, hint=_hint(unsettled))
    return pods


async def until_gone(node: Node, records: Records, uids: Sequence[str], *, limit: float | None) -> None:
    """Until these incarnations are ended and forgotten. Raises TimedOut saying what holds them."""

    def look() -> tuple[list[PodRecord], bool]:
        left = [record for record in records.pods() if record.uid in uids]
        return left, not left

    left, over = await until(node, look, limit)
    if not over and limit != 0:
        raise still_there([f"{each.key} ({each.state.message or 'ending'})" for each in left], limit)


async def until(node: Node, look: Callable[[], tuple[T, bool]], limit: float | None) -> tuple[T, bool]:
    """What `look` gives once it says that it is over, or when `limit` seconds are."""
    loop = asyncio.get_running_loop()
    deadline = None if limit is None else loop.time() + limit
    while True:
        revision = await _revision(node)
        found, over = await in_thread(look)
        left = _LOOK if deadline is None else min(deadline - loop.time(), _LOOK)
        if over or left <= 0:
            return found, over
        await _revision(node, since=revision, wait=left)


async def _revision(node: Node, since: int = -1, wait: float = 0.0) -> int:
    """The revision once it is beyond `since`; a supervisor that died meanwhile is started again."""
    try:
        answer = await call(node, "changed", since=since, wait=wait)
        return int(answer["revision"])
    except NotRunning:
        await ensure_running(node)
        return -1


def _told(node: Node, config: Config, pods: Sequence[PodStatus], what: str) -> tuple[str, str]:
    """Subject and cause of an error about `pods`."""
    paths: dict[str, str] = {}
    try:
        from orlop.pod.context import Pods

        paths = {each.id: each.log_path for each in Pods(node, config).containers()}
    except OrlopError:
        pass  # then without what they wrote
    names = ", ".join(pod.key for pod in pods)
    return f"pod{'s' if len(pods) > 1 else ''} {names}", "\n".join(
        [what, *(explained(pod, paths) for pod in pods)]
    )


def _hint(pods: Sequence[PodStatus]) -> str:
    names = [
        f"{pod.name}/{each.name}" for pod in pods for each in pod.containers if each.id and not each.ready
    ]
    name = names[0] if names else "POD"
    return f"see: orlop logs {name}; the supervisor goes on trying; correct the file and play it again"


def still_there(names: Sequence[str], limit: float | None) -> TimedOut:
    """The error about what does not end."""
    listed = ", ".join(names)
    return TimedOut(listed, f"still ends after {limit or 0:g} s", hint="see: orlop pod list; then ask again")
