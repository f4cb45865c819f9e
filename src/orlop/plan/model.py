"""What is declared, what differs, and the steps between the two."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from orlop.kit.errors import InvalidInput
from orlop.kit.value import dataclass, field

#: What a step does to its object. `run` is for steps that no difference makes (a migration, a check).
ACTIONS = ("create", "replace", "update", "remove", "run")


@dataclass(frozen=True)
class Resource:
    """One object of a state. `value` is JSON; `after` are the keys of the objects that it needs."""

    key: str
    value: Mapping[str, Any]
    after: tuple[str, ...] = ()


@dataclass(frozen=True)
class Step:
    """One thing to do. `after` are the ids of steps that have to be done before.

    `payload` is what the executor needs: the declared value, or for a removal the actual one.
    """

    id: str
    action: str
    key: str
    reason: str = ""
    after: tuple[str, ...] = ()
    payload: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """Steps in an order that respects their dependencies. Empty: nothing to do."""

    steps: tuple[Step, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.steps)

    @classmethod
    def of(cls, steps: Iterable[Step]) -> Plan:
        """A plan of steps in any order. Raises InvalidInput: an unknown action, a repeated id, a cycle."""
        given = list(steps)
        known = {step.id: step for step in given}
        if len(known) != len(given):
            raise InvalidInput("plan", "two steps have the same id", hint="give each step an id of its own")
        for step in given:
            if step.action not in ACTIONS:
                raise InvalidInput(
                    step.id, f"no such action: {step.action}", hint=f"use {', '.join(ACTIONS)}"
                )
        return cls(tuple(known[id_] for id_ in ordered({step.id: step.after for step in given})))

    def as_json(self) -> dict[str, Any]:
        return {
            "steps": [
                {
                    "id": step.id,
                    "action": step.action,
                    "key": step.key,
                    "reason": step.reason,
                    "after": list(step.after),
                    "payload": step.payload,
                }
                for step in self.steps
            ]
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Plan:
        """The plan that `as_json` wrote. Raises InvalidInput."""
        try:
            steps = [
                Step(s["id"], s["action"], s["key"], s["reason"], tuple(s["after"]), s["payload"])
                for s in value["steps"]
            ]
        except (LookupError, TypeError) as error:
            raise InvalidInput("plan", f"is malformed: {error!r}", hint="plan anew") from error
        return cls.of(steps)

    @property
    def digest(self) -> str:
        """The same for the same content, in any process."""
        import hashlib

        text = json.dumps(self.as_json(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


def ordered(after: Mapping[str, Iterable[str]]) -> list[str]:
    """The keys, each behind all that it comes after; by name where that leaves a choice.

    Raises InvalidInput naming an unknown key or the members of a cycle.
    """
    import heapq

    waiting: dict[str, set[str]] = {}
    followers: dict[str, list[str]] = {}
    for key, needs in after.items():
        waiting[key] = set(needs)
        for need in waiting[key]:
            if need not in after:
                raise InvalidInput(
                    key, f"needs {need}, which is not there", hint=f"declare {need}, or remove the need"
                )
            followers.setdefault(need, []).append(key)
    ready = [key for key, needs in waiting.items() if not needs]
    heapq.heapify(ready)
    found: list[str] = []
    while ready:
        key = heapq.heappop(ready)
        found.append(key)
        for follower in followers.get(key, ()):
            waiting[follower].discard(key)
            if not waiting[follower]:
                heapq.heappush(ready, follower)
    if len(found) < len(after):
        circle = _circle({key: needs for key, needs in waiting.items() if needs})
        raise InvalidInput(circle[0], f"needs itself: {' -> '.join(circle)}", hint="break the circle")
    return found


def _circle(waiting: Mapping[str, set[str]]) -> list[str]:
    """One cycle among keys of which each waits for another."""
    path = [min(waiting)]
    while True:
        following = min(waiting[path[-1]] & waiting.keys())
        if following in path:
            return [*path[path.index(following) :], following]
        path.append(following)
