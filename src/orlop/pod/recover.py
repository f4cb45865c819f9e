"""Finish what a process that died, or a reboot, left undone.

Never touches live work: whoever makes or removes an object holds its claim, and what has no record is listed
before the records are read, so a thing without one is nobody's (records come first and go last).
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from functools import partial

from orlop.kit import files, limits, locks
from orlop.kit.value import dataclass
from orlop.pod import etc, namespaces, refresh, remove_container, remove_sandbox, run, stop_sandbox, teardown
from orlop.pod import records as states
from orlop.pod.context import Pods
from orlop.pod.sandbox import all_of

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from orlop.kit.node import Node

_HEX = frozenset("0123456789abcdef")
_PARTIAL_AGE = 60.0  # seconds after which a file that is still being written is nobody's


@dataclass(frozen=True)
class Report:
    """What was done: IDs of objects finished or removed, names of things that nobody owned, and failures."""

    containers: tuple[str, ...] = ()
    sandboxes: tuple[str, ...] = ()
    orphans: tuple[str, ...] = ()
    failures: tuple[str, ...] = ()


class _Notes:
    def __init__(self) -> None:
        self.containers: list[str] = []
        self.sandboxes: list[str] = []
        self.orphans: list[str] = []
        self.failures: list[str] = []

    def attempt(self, name: str, done: list[str], work: Callable[[], object]) -> None:
        """Note `name` as done, or its failure, which is logged and repeated by the next recovery."""
        try:
            work()
        except Exception as error:
            import logging  # only failures pay for it

            logging.getLogger(__name__).warning("recovery of %s: %s", name[:12], error)
            self.failures.append(f"{name[:12]}: {error}")
        else:
            done.append(name)

    def report(self) -> Report:
        return Report(
            tuple(self.containers), tuple(self.sandboxes), tuple(self.orphans), tuple(self.failures)
        )


def on_open(pods: Pods, *, boot: str, network: float) -> Report:
    """What opening the records does when its query found something; `boot` and `network` are its answers."""
    notes = _Notes()
    if boot != pods.boot:
        pods.records.after_reboot(pods.boot, pods.now())
    _finish_rows(pods, notes)
    if 0 < network <= pods.now():
        _ask_network(pods, notes)
    if notes.containers or notes.sandboxes:
        notes.attempt("what pods share", [], lambda: teardown.when_empty(pods))
    return notes.report()


def recover(pods: Pods) -> Report:
    """Everything: half-made and half-removed objects, what `--rm` forgot, and what nobody owns.

    Harmless at any time, in many processes at once.
    """
    notes = _Notes()
    pods.records.after_reboot(pods.boot, pods.now())
    _finish_rows(pods, notes)
    pods.containers()  # records every end that nobody saw yet
    _remove_orphans(pods, notes)
    _remove_partial(pods.node)
    _ask_network(pods, notes)
    notes.attempt("what pods share", [], lambda: teardown.when_empty(pods))
    return notes.report()


def _finish_rows(pods: Pods, notes: _Notes) -> None:
    """Rows of processes that died while they made, started or removed something."""
    for row in pods.records.rows("containers", "remove = 1 OR state IN ('creating', 'starting', 'removing')"):
        with _claimed(pods, "containers", row["id"]) as current:
            if current is None:
                continue
            if current["state"] == states.STARTING:
                notes.attempt(row["id"], notes.containers, partial(refresh.settle, pods, current))
            elif current["state"] in (states.CREATING, states.REMOVING):
                notes.attempt(row["id"], notes.containers, partial(remove_container.finish, pods, current))
    for row in pods.records.rows("sandboxes", states.UNFINISHED_SANDBOX):
        with _claimed(pods, "sandboxes", row["id"]) as current:
            if current is None or current["state"] == states.READY:
                continue
            finish = remove_sandbox.finish
            if current["state"] == states.NOTREADY:
                if not current["held"]:
                    continue
                finish = stop_sandbox.finish
            notes.attempt(row["id"], notes.sandboxes, partial(finish, pods, current))
    for row in pods.records.rows("containers", "remove = 1"):
        over = row["name"] == states.BUILD_STEP or refresh.refreshed(pods, row)["state"] == states.EXITED
        if over and _is_free(run.owner_path(pods, row["id"])):
            notes.attempt(
                row["id"],
                notes.containers,
                partial(run.remove_pair, pods, row["sandbox_id"], row["id"]),
            )


def _ask_network(pods: Pods, notes: _Notes) -> None:
    """Repeat what the network could not do; if it still cannot, a later command asks again, not every one."""
    pods.records.ask_network_at(pods.now() + limits.CNI_RETRY)
    before = len(notes.failures)
    notes.attempt("network", [], lambda: pods.network.collect(lambda: _ids(pods, "sandboxes")))
    if len(notes.failures) == before:
        pods.records.ask_network_at(0)


def _remove_orphans(pods: Pods, notes: _Notes) -> None:
    node = pods.node
    found: dict[str, list[str]] = {
        folder: _listed(node.in_state(folder)) for folder in ("namespaces", "pods", "bundles")
    }
    found["roots"] = [name for name in pods.store.rootfs_list() if _is_id(name)]
    found["logs"] = _listed(node.in_root("logs"))
    found["checkpoints"] = _listed(node.in_root("checkpoints"))
    found["cgroups"] = pods.engine.cgroups.children(pods.own_group)  # those elsewhere: by their bundles
    locked = [name.removesuffix(".owner") for name in _names(node.in_state("locks", "pods"))]
    sandboxes, containers = _ids(pods, "sandboxes"), _ids(pods, "containers")
    known = sandboxes | containers
    steps: dict[str, list[Callable[[], object]]] = {}
    for name in set(found["bundles"]) - known:
        steps.setdefault(name, []).append(partial(pods.engine.delete, name, force=True))
        steps[name].append(partial(files.remove_tree, pods.bundle(name)))
    for name in set(found["roots"]) - containers:
        steps.setdefault(name, []).append(partial(pods.store.remove_rootfs, name))
    for name in set(found["logs"]) - containers:
        steps.setdefault(name, []).append(partial(files.remove_tree, node.in_root("logs", name)))
    for name in set(found["checkpoints"]) - containers:
        steps.setdefault(name, []).append(partial(files.remove_tree, node.in_root("checkpoints", name)))
    for name in set(found["namespaces"]) - sandboxes:
        steps.setdefault(name, []).append(partial(namespaces.unpin, node, name))
    for name in set(found["pods"]) - sandboxes:
        steps.setdefault(name, []).append(partial(etc.remove, node, name))
    for name in set(found["cgroups"]) - {os.path.basename(pods.cgroup(name)) for name in sandboxes}:
        path = f"{pods.own_group}/{name}"
        steps.setdefault(name, []).append(partial(pods.engine.remove_group, path))
    for name, work in sorted(steps.items()):
        notes.attempt(name, notes.orphans, partial(all_of, work))
    for name in set(locked) - known:
        if _is_id(name) and _is_free(pods.claim_path(name)):
            for path in (pods.claim_path(name), run.owner_path(pods, name)):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(path)


def _remove_partial(node: Node) -> None:
    for folder in (node.in_root("network"), node.state, node.in_state("network"), node.in_state("cache")):
        files.remove_partial(folder, _PARTIAL_AGE)


@contextlib.contextmanager
def _claimed(pods: Pods, table: str, identifier: str) -> Iterator[sqlite3.Row | None]:
    """The object's row as it is, with its claim held; None where somebody else is at work, or it is gone."""
    with locks.attempt(pods.claim_path(identifier)) as held:
        row = pods.records.row(table, identifier) if held else None
        yield row
        if held and row is None:
            pods.release_claim(identifier)


def _is_free(path: str) -> bool:
    if not os.path.exists(path):
        return True
    with locks.attempt(path) as held:
        return held


def _ids(pods: Pods, table: str) -> set[str]:
    return {row["id"] for row in pods.records.rows(table)}


def _listed(path: str) -> list[str]:
    return [name for name in _names(path) if _is_id(name)]


def _names(path: str) -> list[str]:
    try:
        return os.listdir(path)
    except FileNotFoundError:
        return []


def _is_id(name: str) -> bool:
    return len(name) == 64 and _HEX.issuperset(name)
