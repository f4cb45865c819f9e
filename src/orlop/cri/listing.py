"""The pods and containers of the CRI as values and messages, as they are now, also where there are hundreds.

What was decoded once is kept as long as its row stays the same. Whether a container's process still runs is
asked of all of them at once, by their pidfds, instead of by a file in /proc each.
"""

from __future__ import annotations

import contextlib
import operator
import os
import select
import sqlite3
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from orlop.cri.proto import cri_pb2 as pb
from orlop.cri.translate import status
from orlop.cri.translate.sandbox import MANAGER
from orlop.kit import limits
from orlop.pod import refresh
from orlop.pod.context import Pods, as_container, as_sandbox
from orlop.pod.model import Container, Sandbox
from orlop.pod.records import CREATED, RUNNING, STARTING

_MADE = "state <> 'creating'"
_ID_LENGTH = 64
_MANY = 50  # items of an answer that is worth keeping ...
_KEYS = 4  # ... for as many different questions

_SHORT = 256  # characters of an annotation that always stays, as the kubelet's own hashes

T = TypeVar("T")
Item = TypeVar("Item", pb.PodSandbox, pb.Container)


class Listing:
    """Contract: safe for many threads; what it keeps is bounded by what there is."""

    def __init__(self, pods: Pods) -> None:
        self._pods = pods
        self._living = _Living()
        self._watch = pods.records.database.watch()
        self._reading = threading.Lock()
        self._rows: dict[str, tuple[int, list[sqlite3.Row]]] = {}  # table -> version, rows
        self._mine: dict[str, bool] = {}
        self._last: tuple[list[sqlite3.Row], frozenset[str], list[tuple[Container, pb.Container]]] | None = (
            None
        )
        self._answers: dict[bytes, tuple[list[pb.Container], Any]] = {}
        self._sandboxes: dict[str, tuple[sqlite3.Row, Sandbox, pb.PodSandbox]] = {}
        self._containers: dict[str, tuple[sqlite3.Row, Container, pb.Container]] = {}

    def sandboxes(self) -> list[tuple[Sandbox, pb.PodSandbox]]:
        """All pods, oldest first."""
        kept = {}
        for row in self._read("sandboxes"):
            known = self._sandboxes.get(row["id"])
            if known is None or (known[0] is not row and known[0] != row):
                sandbox = as_sandbox(row)
                known = (row, sandbox, status.sandbox_item(sandbox))
            kept[row["id"]] = known
        self._sandboxes = kept
        self._mine = {identifier: _is_mine(known[1]) for identifier, known in kept.items()}
        return [(known[1], known[2]) for known in kept.values() if _is_mine(known[1])]

    def containers(self) -> list[tuple[Container, pb.Container]]:
        """All containers of those pods, oldest first."""
        rows = self._read("containers")
        living = self._living.among(rows)
        last = self._last
        if last is not None and last[0] is rows and last[1] is living:
            return last[2]
        kept, settled = {}, True
        for row in rows:
            if not self._belongs(row["sandbox_id"]):
                continue
            identifier = row["id"]
            if identifier not in living and row["state"] in (RUNNING, CREATED, STARTING):
                row, settled = refresh.refreshed(self._pods, row), False
            known = self._containers.get(identifier)
            if known is None or (known[0] is not row and known[0] != row):
                container = as_container(row)
                known = (row, container, status.container_item(container))
            kept[identifier] = known
        self._containers = kept
        found = [(known[1], known[2]) for known in kept.values()]
        self._last = (rows, living, found) if settled else None
        return found

    def answer(self, key: bytes, items: list[pb.Container], make: Callable[[], T]) -> T:
        """The message that `make` makes of many items: the last one of this key where they are the same."""
        if len(items) < _MANY:
            return make()
        known = self._answers.get(key)
        if known is not None and len(known[0]) == len(items) and all(map(operator.is_, known[0], items)):
            last: T = known[1]
            return last
        if len(self._answers) >= _KEYS:
            self._answers.clear()
        made = make()
        self._answers[key] = (items, made)
        return made

    def _read(self, table: str) -> list[sqlite3.Row]:
        """The rows of what is made, from the database only where something was committed."""
        with self._reading:
            version = self._watch.version()  # before the rows, which may only be newer
            known = self._rows.get(table)
            if known is None or known[0] != version:
                known = (version, self._pods.records.rows(table, _MADE))
                self._rows[table] = known
            return known[1]

    def find(self, table: str, identifier: str) -> list[str]:
        """The IDs of the CRI's objects that are this, or begin with it."""
        if self._pods.records.row(table, identifier) is not None:
            found = [identifier]
        elif len(identifier) >= _ID_LENGTH:
            return []
        else:
            where = "substr(id, 1, ?) = ?"
            found = [
                row["id"] for row in self._pods.records.rows(table, where, (len(identifier), identifier))
            ]
        if table == "sandboxes":
            return [each for each in found if self._belongs(each)]
        rows = (self._pods.records.row(table, each) for each in found)
        return [row["id"] for row in rows if row is not None and self._belongs(row["sandbox_id"])]

    def _belongs(self, sandbox_id: str) -> bool:
        known = self._mine.get(sandbox_id)
        if known is None:
            row = self._pods.records.row("sandboxes", sandbox_id)
            known = row is not None and _is_mine(as_sandbox(row))
            if row is not None:
                self._mine[sandbox_id] = known
        return known


def fitted(items: list[Item]) -> list[Item]:
    """The items, without annotations of the largest ones where all together would be no message any more.

    Annotations are what authors of pods fill, up to 256 KiB a pod: a list of many such pods that fails is a
    node that is lost. A status still has them all.
    """
    room = limits.CRI_MESSAGE - limits.CRI_LIST_SLACK * (len(items) + 1)
    sizes = [item.ByteSize() for item in items]
    excess = sum(sizes) - room
    if excess <= 0:
        return items
    shown = list(items)
    for index in sorted(range(len(items)), key=sizes.__getitem__, reverse=True):
        if excess <= 0:
            break
        slim = type(items[index])()
        slim.CopyFrom(items[index])
        for key in [key for key, value in slim.annotations.items() if len(value) > _SHORT]:
            del slim.annotations[key]
        excess -= sizes[index] - slim.ByteSize()
        shown[index] = slim
    return shown


class _Living:
    """The first processes of containers, held by pidfd: these and no others, even if a PID comes again."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: dict[tuple[int, int], int] = {}  # (PID, its start) -> descriptor
        self._last: tuple[list[sqlite3.Row], frozenset[str]] | None = None
        self._poll = select.poll()

    def among(self, rows: list[sqlite3.Row]) -> frozenset[str]:
        """The IDs of the containers whose process is known to run: the same set where nothing changed."""
        with self._lock:
            if self._last is not None and self._last[0] is rows and not self._poll.poll(0):
                return self._last[1]
        wanted = {
            (row["pid"], row["pid_start"]): row["id"] for row in rows if row["state"] in (RUNNING, CREATED)
        }
        with self._lock:
            for key in self._held.keys() - wanted.keys():
                self._drop(key)
            for key in wanted.keys() - self._held.keys():
                self._take(key)
            ended = {descriptor for descriptor, _ in self._poll.poll(0)}
            found = frozenset(wanted[key] for key, each in self._held.items() if each not in ended)
            self._last = (rows, found)
            return found

    def _take(self, key: tuple[int, int]) -> None:
        pid, started = key
        if pid <= 0:
            return
        try:
            descriptor = os.pidfd_open(pid)
        except OSError:
            return
        if not refresh.alive(pid, started):
            os.close(descriptor)
            return
        self._held[key] = descriptor
        self._poll.register(descriptor, select.POLLIN)

    def _drop(self, key: tuple[int, int]) -> None:
        descriptor = self._held.pop(key)
        self._poll.unregister(descriptor)
        with contextlib.suppress(OSError):
            os.close(descriptor)


def _is_mine(sandbox: Sandbox) -> bool:
    return sandbox.config.manager == MANAGER
