"""The difference between two states, as a plan. Pure: no clock, no file, the same answer each time."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from orlop.kit.value import dataclass
from orlop.plan.model import Plan, Resource, Step, ordered

_SHOWN = 5  # changes named in a reason
_WIDTH = 60  # characters of a value in a reason


class Absent:
    """Stands for a value that one of the two states does not have."""

    def __repr__(self) -> str:
        return "(absent)"


ABSENT = Absent()


@dataclass(frozen=True)
class Change:
    """A value that differs. `path` as in `spec.containers[0].image`; `before` or `after` may be ABSENT."""

    path: str
    before: Any
    after: Any


def difference(
    declared: Mapping[str, Resource],
    actual: Mapping[str, Resource],
    *,
    replace_when: Callable[[str, Sequence[Change]], bool] = lambda _key, _changes: False,
    secret: Callable[[str, str], bool] = lambda _key, _path: False,
    frees: Callable[[Resource, Resource], bool] = lambda _removed, _made: False,
) -> Plan:
    """What has to be done so that `actual` becomes `declared`.

    An object is made or changed after those that it needs, and removed after those that needed it.
    `replace_when(key, changes)` says which changes cannot be made in place, `secret(key, path)` which values
    a reason must not show, `frees(removed, made)` that one object has to go before another can come (they
    share a port). Raises InvalidInput for a cycle or an unknown dependency in `declared`.
    """
    ordered({key: resource.after for key, resource in declared.items()})
    actions: dict[str, tuple[str, str]] = {}  # key -> action, reason
    for key, resource in declared.items():
        if key not in actual:
            actions[key] = ("create", "is not there")
        elif found := changes(actual[key].value, resource.value):
            action = "replace" if replace_when(key, found) else "update"
            actions[key] = (action, _reason(key, found, secret))
    for key in actual.keys() - declared.keys():
        actions[key] = ("remove", "is no longer declared")
    needs = {key: resource.after for key, resource in declared.items()}
    needed_by = _reversed(actual)
    steps = []
    for key, (action, reason) in actions.items():
        if action == "remove":
            before = _nearest(key, needed_by, actions)
            payload = actual[key].value
        else:
            before = _nearest(key, needs, actions) | {
                other
                for other, (act, _) in actions.items()
                if act == "remove" and frees(actual[other], declared[key])
            }
            payload = declared[key].value
        after = tuple(sorted(f"{actions[other][0]}:{other}" for other in before))
        steps.append(Step(f"{action}:{key}", action, key, reason, after, payload))
    return Plan.of(steps)


def changes(before: Any, after: Any, path: str = "") -> list[Change]:
    """Every place where two JSON values differ, in the order of the paths' keys."""
    return list(_walk(before, after, path))


def _walk(before: Any, after: Any, path: str) -> Iterator[Change]:
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for key in sorted(before.keys() | after.keys()):
            inner = f"{path}.{key}" if path else str(key)
            yield from _walk(before.get(key, ABSENT), after.get(key, ABSENT), inner)
    elif isinstance(before, (list, tuple)) and isinstance(after, (list, tuple)):
        for index in range(max(len(before), len(after))):
            old = before[index] if index < len(before) else ABSENT
            new = after[index] if index < len(after) else ABSENT
            yield from _walk(old, new, f"{path}[{index}]")
    elif not _same(before, after):
        yield Change(path, before, after)


def _same(one: Any, other: Any) -> bool:
    """JSON's equality: true is not 1, 1 is 1.0."""
    return one is other or (isinstance(one, bool) == isinstance(other, bool) and bool(one == other))


def _reason(key: str, found: Sequence[Change], secret: Callable[[str, str], bool]) -> str:
    words = []
    for change in found[:_SHOWN]:
        if secret(key, change.path):
            words.append(f"{change.path}: (changed, not shown)")
        else:
            words.append(f"{change.path}: {_shown(change.before)} -> {_shown(change.after)}")
    if len(found) > _SHOWN:
        words.append(f"and {len(found) - _SHOWN} more")
    return ", ".join(words)


def _shown(value: Any) -> str:
    if isinstance(value, (str, Absent)):
        text = str(value) or '""'
    else:
        text = json.dumps(value, sort_keys=True, default=str)
    text = " ".join(text.split()) or '""'
    return text if len(text) <= _WIDTH else text[: _WIDTH - 3] + "..."


def _reversed(state: Mapping[str, Resource]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for key, resource in state.items():
        for need in resource.after:
            found.setdefault(need, []).append(key)
    return found


def _nearest(
    key: str, edges: Mapping[str, Sequence[str]], actions: Mapping[str, tuple[str, str]]
) -> set[str]:
    """The first objects with a step that are met along `edges`; those without one are passed through."""
    found: set[str] = set()
    seen = {key}
    open_ = list(edges.get(key, ()))
    while open_:
        other = open_.pop()
        if other in seen:
            continue
        seen.add(other)
        if other in actions:
            found.add(other)
        else:
            open_.extend(edges.get(other, ()))
    return found
