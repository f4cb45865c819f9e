"""What is declared on a node and how it is kept: `system.db` below the root, the supervisor's only memory.

    objects  config maps, secrets and claims, as they were played
    pods     one row an incarnation: a pod that is replaced gets a new uid, and its old row stays, no longer
             wanted, until the supervisor has ended it

The file is 0600: it holds secrets. Every method is one transaction, thread-safe, and harmless twice.
"""

from __future__ import annotations

import os
import uuid
from dataclasses import dataclass

import msgspec

from orlop.kit.database import Database
from orlop.kit.errors import Corrupt
from orlop.kit.node import Node
from orlop.system.kube.model import Data, DesiredPod
from orlop.system.kube.volume_model import ConfigMap, PersistentVolumeClaim, Secret
from orlop.system.kube.wire import from_json, to_json
from orlop.system.supervise.model import PodState

_MIGRATIONS = (
    """
    CREATE TABLE objects (
        kind TEXT NOT NULL,
        namespace TEXT NOT NULL,
        name TEXT NOT NULL,
        source TEXT NOT NULL,
        value BLOB NOT NULL,
        PRIMARY KEY (kind, namespace, name)
    );
    CREATE TABLE pods (
        uid TEXT PRIMARY KEY,
        namespace TEXT NOT NULL,
        name TEXT NOT NULL,
        source TEXT NOT NULL,
        wanted INTEGER NOT NULL,
        declared REAL NOT NULL,
        value BLOB NOT NULL,
        state BLOB NOT NULL
    );
    CREATE UNIQUE INDEX wanted_pods ON pods (namespace, name) WHERE wanted = 1
    """,
)

_WANTED, _HALTED = 1, 2  # of `wanted`; 0: to be ended and forgotten

Object = ConfigMap | Secret | PersistentVolumeClaim
KINDS: dict[str, type[Object]] = {
    "ConfigMap": ConfigMap,
    "Secret": Secret,
    "PersistentVolumeClaim": PersistentVolumeClaim,
}


@dataclass(frozen=True)
class ObjectRecord:
    """A config map, secret or claim. `source` is the file that declared it last."""

    kind: str
    source: str
    value: Object


@dataclass(frozen=True)
class PodRecord:
    """An incarnation of a pod. `desired.uid` is `uid`; `declared` in seconds since the epoch.

    It is `wanted`, or `halted` (ended by hand: its record stays), or neither: to be ended and forgotten.
    """

    uid: str
    source: str
    wanted: bool
    halted: bool
    declared: float
    desired: DesiredPod
    state: PodState

    @property
    def key(self) -> str:
        return self.desired.key


class Records:
    """The declared objects and the run state of one node."""

    def __init__(self, node: Node) -> None:
        path = node.in_root("system.db")
        os.makedirs(node.root, mode=0o711, exist_ok=True)
        if not os.path.exists(path):
            os.close(os.open(path, os.O_CREAT | os.O_CLOEXEC, 0o600))
        self._database = Database(path, _MIGRATIONS)

    def pods(self) -> list[PodRecord]:
        """All incarnations, in the order of their declaration."""
        rows = self._database.query("SELECT * FROM pods ORDER BY declared, rowid")
        return [
            PodRecord(
                uid=row["uid"],
                source=row["source"],
                wanted=row["wanted"] == _WANTED,
                halted=row["wanted"] == _HALTED,
                declared=row["declared"],
                desired=from_json(row["value"], DesiredPod),
                state=_state(row["state"]),
            )
            for row in rows
        ]

    def declare_pod(self, desired: DesiredPod, source: str, now: float, *, anew: bool = False) -> None:
        """`desired` is what is wanted under its name. Another content, or `anew`, makes a new incarnation."""
        with self._database.transaction() as connection:
            row = connection.execute(
                "SELECT uid, value FROM pods WHERE namespace = ? AND name = ? AND wanted = 1",
                (desired.namespace, desired.name),
            ).fetchone()
            same = row is not None and from_json(row["value"], DesiredPod).content == desired.content
            if row is not None and same and not anew:
                kept = msgspec.structs.replace(desired, uid=row["uid"])
                connection.execute(
                    "UPDATE pods SET source = ?, value = ? WHERE uid = ?", (source, to_json(kept), row["uid"])
                )
                return
            connection.execute(  # one that was halted goes
                "UPDATE pods SET wanted = 0 WHERE namespace = ? AND name = ?",
                (desired.namespace, desired.name),
            )
            new = msgspec.structs.replace(desired, uid=str(uuid.uuid4()))
            connection.execute(
                "INSERT INTO pods VALUES (?, ?, ?, ?, 1, ?, ?, ?)",
                (new.uid, new.namespace, new.name, source, now, to_json(new), _ENCODE(PodState())),
            )

    def unwant_pod(self, namespace: str, name: str) -> None:
        """The pod is to be ended; its record goes when that is done."""
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE pods SET wanted = 0 WHERE namespace = ? AND name = ?", (namespace, name)
            )

    def halt_pod(self, uid: str) -> None:
        """The pod is to be ended; its record stays until it is declared again or not wanted any more."""
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE pods SET wanted = ? WHERE uid = ? AND wanted = ?", (_HALTED, uid, _WANTED)
            )

    def save_state(self, uid: str, state: PodState) -> None:
        """Durable when this returns. A pod that was forgotten meanwhile stays forgotten."""
        with self._database.transaction() as connection:
            connection.execute("UPDATE pods SET state = ? WHERE uid = ?", (_ENCODE(state), uid))

    def forget_pod(self, uid: str) -> None:
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM pods WHERE uid = ? AND wanted = 0", (uid,))

    def objects(self) -> list[ObjectRecord]:
        rows = self._database.query("SELECT * FROM objects ORDER BY kind, namespace, name")
        return [
            ObjectRecord(row["kind"], row["source"], from_json(row["value"], KINDS[row["kind"]]))
            for row in rows
        ]

    def data(self) -> Data:
        """All objects, as pods draw from them."""
        values = [record.value for record in self.objects()]
        return Data(
            config_maps=tuple(value for value in values if isinstance(value, ConfigMap)),
            secrets=tuple(value for value in values if isinstance(value, Secret)),
            claims=tuple(value for value in values if isinstance(value, PersistentVolumeClaim)),
        )

    def declare_object(self, value: Object, source: str) -> None:
        where = (type(value).__name__, value.metadata.namespace, value.metadata.name)
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO objects VALUES (?, ?, ?, ?, ?)", (*where, source, to_json(value))
            )

    def remove_object(self, kind: str, namespace: str, name: str) -> None:
        with self._database.transaction() as connection:
            connection.execute(
                "DELETE FROM objects WHERE kind = ? AND namespace = ? AND name = ?", (kind, namespace, name)
            )

    def close(self) -> None:
        self._database.close()


_ENCODE = msgspec.json.encode
_DECODER = msgspec.json.Decoder(PodState)  # made here, where one thread is: see kube/wire.py


def _state(raw: bytes) -> PodState:
    try:
        return _DECODER.decode(raw)
    except msgspec.MsgspecError as error:
        raise Corrupt("system.db", f"a pod's state: {error}", hint="play its file again") from error
