"""`Pods`: the records of one node and the parts below, opened when they are needed; and the queries."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time

from orlop.kit import locks
from orlop.kit import node as kit_node
from orlop.kit.errors import InvalidInput, NotFound
from orlop.pod import codec, records
from orlop.pod.model import Container, Sandbox, SandboxConfig

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from orlop.kit.config import Config
    from orlop.kit.node import Node
    from orlop.network.network import Network
    from orlop.pod.hooks import Hooks
    from orlop.runtime.engine import Engine
    from orlop.store.store import Store

_PREFIX = 4  # hex digits that an abbreviated ID has at least
_HEX = frozenset("0123456789abcdef")


class Pods:
    """What every verb of this package takes first. Cheap to make; safe for many threads.

    Opening finishes what a process that died (or a reboot) left undone: one query where nothing did. With
    `finish=False` the caller does that himself (`recover`), when he has the time.
    """

    def __init__(self, node: Node, config: Config, *, finish: bool = True) -> None:
        self.node = node
        self.config = config
        self.boot = kit_node.boot_id()
        self.hooks: Hooks | None = None
        self.judged: set[str] = set()  # IDs of images that the policy has allowed, or that were built on such
        self.disk_usage: dict[str, tuple[int, int, float]] = {}  # of `stats`: bytes, inodes, when
        self.records = records.Records(node.in_root("pods.db"))
        self._store: Store | None = None
        self._engine: Engine | None = None
        self._network: Network | None = None
        self._opening = threading.RLock()
        if not finish:
            return
        boot, unfinished, removable, network = self.records.unfinished()
        if (
            boot != self.boot
            or any(map(self.is_free, unfinished))
            or (removable and _any_ended(removable))
            or 0 < network <= self.now()
        ):
            from orlop.pod import recover

            recover.on_open(self, boot=boot, network=network)

    def configure(self, config: Config) -> None:
        """Work with another configuration from now on; its [runtime] counts for the next process only."""
        with self._opening:
            self.config = config
            self._network = None
            if self._store is not None:
                from orlop.store.store import StoreSettings

                self._store.settings = config.section("store", StoreSettings)

    # The parts below

    @property
    def store(self) -> Store:
        with self._opening:
            if self._store is None:
                from orlop.store.store import Store, StoreSettings

                self._store = Store(self.node, self.config.section("store", StoreSettings))
            return self._store

    @property
    def engine(self) -> Engine:
        with self._opening:
            if self._engine is None:
                from orlop.runtime.engine import Engine, RuntimeSettings

                self._engine = Engine(self.node, self.config.section("runtime", RuntimeSettings))
            return self._engine

    @property
    def network(self) -> Network:
        with self._opening:
            if self._network is None:
                from orlop.network.network import Network
                from orlop.network.settings import NetworkSettings

                self._network = Network(self.node, self.config.section("network", NetworkSettings))
            return self._network

    # Queries: always what is, not what was written down last

    def sandbox(self, name: str) -> Sandbox:
        """The pod of this name, `namespace/name`, ID or unique ID prefix (four digits or more).

        A name that several pods bear (attempts, namespaces) leads to the ready one. Raises NotFound, and
        InvalidInput listing the candidates where it is ambiguous.
        """
        return as_sandbox(self._one("pod", name, self._sandbox_candidates(name)))

    def sandboxes(
        self, *, labels: Mapping[str, str] | None = None, state: str | None = None, uid: str | None = None
    ) -> list[Sandbox]:
        """All pods, oldest first, with these labels, in this state and of this uid where given."""
        where, parameters = ("state <> 'creating'", ())
        if uid is not None:
            where, parameters = (f"{where} AND uid = ?", (uid,))  # type: ignore[assignment]
        rows = self.records.rows("sandboxes", where, parameters)
        found = (as_sandbox(row) for row in rows)
        return [
            sandbox
            for sandbox in found
            if state in (None, sandbox.state) and _has(sandbox.config.labels, labels)
        ]

    def container(self, name: str) -> Container:
        """The container `pod/container`, of a pod with only one, or of this ID or unique prefix.

        Raises NotFound, and InvalidInput listing the candidates where it is ambiguous.
        """
        return self._truth([self._one("container", name, self._container_candidates(name))])[0]

    def containers(
        self,
        sandbox_id: str | None = None,
        *,
        labels: Mapping[str, str] | None = None,
        state: str | None = None,
    ) -> list[Container]:
        """All containers, oldest first, of this sandbox, with these labels and in this state where given."""
        where, parameters = ("state <> 'creating'", ())
        if sandbox_id is not None:
            where, parameters = (f"{where} AND sandbox_id = ?", (sandbox_id,))  # type: ignore[assignment]
        found = self._truth(self.records.rows("containers", where, parameters))
        return [c for c in found if state in (None, c.state) and _has(c.config.labels, labels)]

    # Within the package

    @contextlib.contextmanager
    def claim(self, identifier: str) -> Iterator[int]:
        """Hold the object of this ID: nobody else changes it meanwhile. A dead holder holds nothing."""
        path = self.claim_path(identifier)
        while True:
            known = os.path.exists(path)
            with locks.hold(path, anew=False) as descriptor:
                if not _is_at(descriptor, path):  # it was removed while we waited for it
                    continue
                try:
                    yield descriptor
                finally:
                    if not known and not self._has(identifier):  # it went before we came
                        self.release_claim(identifier)
                return

    def claim_path(self, identifier: str) -> str:
        return self.node.in_state("locks", "pods", identifier)

    def is_free(self, identifier: str) -> bool:
        """Whether nobody is at work on the object of this ID."""
        if not os.path.exists(self.claim_path(identifier)):
            return True
        with locks.attempt(self.claim_path(identifier)) as held:
            return held

    def release_claim(self, identifier: str) -> None:
        """Take the lock's file away, once the object's row is gone."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.claim_path(identifier))

    def _has(self, identifier: str) -> bool:
        return any(self.records.row(table, identifier) is not None for table in ("containers", "sandboxes"))

    @contextlib.contextmanager
    def gate(self) -> Iterator[None]:
        """Hold open what all pods share (`teardown` closes it) from a row's insertion to its first deeds."""
        with locks.hold(self.node.in_state("locks", "pods", "gate"), shared=True):
            yield

    def tell(self, event: str, sandbox_id: str, container_id: str = "") -> None:
        """Call the hooks' method `event`, if there are hooks, with the pod and the container as they are."""
        hooks = self.heard(event, container_id or sandbox_id)
        if hooks is None:
            return
        sandbox = self.records.row("sandboxes", sandbox_id)
        if sandbox is None:
            return
        told: list[object] = [as_sandbox(sandbox)]
        if container_id:
            row = self.records.row("containers", container_id)
            if row is None:
                return
            told.append(as_container(row))
        getattr(hooks, event)(*told)

    def heard(self, event: str, identifier: str) -> Hooks | None:
        """The hooks, if there are any and they want to hear of this."""
        hooks = self.hooks
        return hooks if hooks is not None and hooks.wants(event, identifier) else None

    def bundle(self, identifier: str) -> str:
        return self.node.in_state("bundles", identifier)

    def own_log(self, identifier: str) -> str:
        """Where a container's log is unless somebody chose another place."""
        return self.node.in_root("logs", identifier, "log")

    @property
    def own_group(self) -> str:
        """The cgroup that those of all pods lie in, unless somebody asked for another parent."""
        if self.engine.systemd:
            from orlop.runtime.cgroups import slices

            return slices.own_slice(self.node.identity)
        return f"/{self.node.identity}"

    def cgroup(self, sandbox_id: str, container_id: str = "") -> str:
        """The kernel's path of the cgroup of a sandbox, or of a container in it, below every controller.

        A sandbox with a parent of somebody else's (the kubelet's) has no group of its own: its containers lie
        in the parent, which is never ours to limit or to remove.
        """
        from orlop.runtime.cgroups import slices

        parent, systemd = self.cgroup_parent(sandbox_id), self.engine.systemd
        if parent:
            pod = slices.parent(parent, systemd=systemd)
        elif systemd:
            pod = slices.own_slice(self.node.identity, f"pod{sandbox_id[:24]}")
        else:
            pod = f"/{self.node.identity}/pod{sandbox_id[:24]}"
        if not container_id:
            return pod
        return slices.scope(pod, container_id) if systemd else f"{pod}/{container_id}"

    def cgroup_parent(self, sandbox_id: str) -> str:
        """As it was asked for; "" where the pod's cgroup is our own."""
        row = self.records.row("sandboxes", sandbox_id)
        if row is None or '"cgroup_parent":""' in row["config"]:  # no string of a user's looks like that
            return ""
        return codec.sandbox_config(row["config"]).cgroup_parent

    def remove_group(self, sandbox_id: str) -> None:
        """Take the pod's cgroup away, if it is ours."""
        if not self.cgroup_parent(sandbox_id):
            self.engine.remove_group(self.cgroup(sandbox_id))

    def admit(self, config: SandboxConfig) -> None:
        """Raises InvalidInput where this node has no such handler, or no such cgroup can be."""
        if config.handler:
            self.engine.handler(config.handler)
        if config.cgroup_parent:
            from orlop.runtime.cgroups import slices

            slices.parent(config.cgroup_parent, systemd=self.engine.systemd)

    def sandbox_row(self, identifier: str) -> sqlite3.Row:
        """Raises NotFound."""
        row = self.records.row("sandboxes", identifier)
        return row if row is not None else self._one("pod", identifier, self._sandbox_candidates(identifier))

    def container_row(self, identifier: str) -> sqlite3.Row:
        """Raises NotFound."""
        row = self.records.row("containers", identifier)
        if row is None:
            row = self._one("container", identifier, self._container_candidates(identifier))
        return row

    def find_sandbox(self, name: str) -> sqlite3.Row | None:
        """The record of the pod of this ID, name or prefix; None where there is none."""
        row = self.records.row("sandboxes", name)
        if row is not None:
            return row
        rows = self._sandbox_candidates(name)
        return self._one("pod", name, rows) if rows else None

    def find_container(self, name: str) -> sqlite3.Row | None:
        """The record of the container of this ID, name or prefix; None where there is none."""
        row = self.records.row("containers", name)
        if row is not None:
            return row
        rows = self._container_candidates(name)
        return self._one("container", name, rows) if rows else None

    def now(self) -> float:
        return time.time()

    def close(self) -> None:
        """Let go of this thread's connections."""
        self.records.database.close()
        if self._store is not None:
            self._store.close()

    def _truth(self, rows: list[sqlite3.Row]) -> list[Container]:
        from orlop.pod import refresh

        return [as_container(refresh.refreshed(self, row)) for row in rows]

    def _sandbox_candidates(self, name: str) -> list[sqlite3.Row]:
        namespace, slash, short = name.rpartition("/")
        if slash:
            rows = self.records.rows("sandboxes", "namespace = ? AND name = ?", (namespace, short))
        else:
            rows = self.records.rows("sandboxes", "name = ?", (name,))
        return _preferred(rows, "ready") or self._by_prefix("sandboxes", name)

    def _container_candidates(self, name: str) -> list[sqlite3.Row]:
        pod, slash, short = name.rpartition("/")
        if slash:
            rows: list[sqlite3.Row] = []
            for sandbox in self._sandbox_candidates(pod):
                rows += self.records.rows("containers", "sandbox_id = ? AND name = ?", (sandbox["id"], short))
        else:
            rows = []
            for sandbox in self.records.rows("sandboxes", "name = ?", (name,)):
                rows += self.records.rows("containers", "sandbox_id = ?", (sandbox["id"],))
        rows = _latest(rows)
        return _preferred(rows, "running") or self._by_prefix("containers", name)

    def _by_prefix(self, table: str, text: str) -> list[sqlite3.Row]:
        if len(text) < _PREFIX or len(text) > 64 or not _HEX.issuperset(text):
            return []
        return self.records.rows(table, "substr(id, 1, ?) = ?", (len(text), text))

    def _one(self, kind: str, name: str, rows: list[sqlite3.Row]) -> sqlite3.Row:
        if not rows:
            command = "orlop pod list" if kind == "pod" else "orlop ps --all"
            raise NotFound(f"{kind} {name}", f"no such {kind}", hint=f"see what there is with: {command}")
        if len(rows) > 1:
            listed = ", ".join(f"{row['id'][:12]} ({self._described(kind, row)})" for row in rows[:10])
            raise InvalidInput(
                f"{kind} {name}", f"{len(rows)} {kind}s are called so: {listed}", hint="give more of the ID"
            )
        return rows[0]

    def _described(self, kind: str, row: sqlite3.Row) -> str:
        if kind == "pod":
            return f"{row['namespace']}/{row['name']}"
        sandbox = self.records.row("sandboxes", row["sandbox_id"])
        return f"{sandbox['name'] if sandbox is not None else '?'}/{row['name']}"


def as_sandbox(row: sqlite3.Row) -> Sandbox:
    """A row as the value that callers see."""
    return Sandbox(
        id=row["id"],
        config=codec.sandbox_config(row["config"]),
        state="ready" if row["state"] == records.READY else "notready",
        created=row["created"],
        addresses=codec.addresses(row["addresses"]),
    )


def as_container(row: sqlite3.Row) -> Container:
    """A row as the value that callers see."""
    state = row["state"]
    if state in (records.CREATING, records.STARTING):
        state = records.CREATED
    elif state == records.REMOVING:
        state = records.EXITED
    uid, gid, groups, stop_signal = codec.identity(row["process"])
    return Container(
        id=row["id"],
        sandbox_id=row["sandbox_id"],
        config=codec.container_config(row["config"]),
        image_id=row["image_id"],
        state=state,
        created=row["created"],
        started=row["started"],
        finished=row["finished"],
        exit_code=row["exit_code"],
        reason=row["reason"],
        message=row["message"],
        pid=row["pid"] if state == records.RUNNING else 0,
        log_path=row["log_path"],
        uid=uid,
        gid=gid,
        groups=groups,
        stop_signal=stop_signal,
    )


def new_id() -> str:
    """64 random hex digits, as containers and sandboxes are called everywhere."""
    return os.urandom(32).hex()


def _any_ended(processes: list[tuple[int, int]]) -> bool:
    from orlop.pod import refresh

    return not all(refresh.alive(pid, started) for pid, started in processes)


def _is_at(descriptor: int, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


def _has(labels: Mapping[str, str], wanted: Mapping[str, str] | None) -> bool:
    return all(labels.get(key) == value for key, value in (wanted or {}).items())


def _preferred(rows: list[sqlite3.Row], state: str) -> list[sqlite3.Row]:
    """Those in `state` where there are any, else all."""
    return [row for row in rows if row["state"] == state] or rows


def _latest(rows: list[sqlite3.Row]) -> list[sqlite3.Row]:
    """The last attempt of each container; earlier ones are found by ID."""
    last = {(row["sandbox_id"], row["name"]): row for row in sorted(rows, key=lambda row: row["attempt"])}
    return list(last.values())
