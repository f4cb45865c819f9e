"""The pure half: differences, order, reasons."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orlop.kit.errors import InvalidInput
from orlop.plan import render
from orlop.plan.difference import Change, changes, difference
from orlop.plan.model import Plan, Resource, Step, ordered


def state(**values: tuple[Any, Sequence[str]]) -> dict[str, Resource]:
    return {key: Resource(key, {"v": value}, tuple(after)) for key, (value, after) in values.items()}


def acts(plan: Plan) -> list[str]:
    return [step.id for step in plan.steps]


def test_equal_states_make_an_empty_plan() -> None:
    same = state(a=(1, []), b=(2, ["a"]))
    plan = difference(same, same)
    assert not plan and plan.steps == ()
    assert render.lines(plan) == ["nothing to do"]


def test_objects_are_made_after_those_they_need_and_removed_before_them() -> None:
    both = state(a=(1, ["c"]), b=(1, ["a"]), c=(1, []))
    assert acts(difference(both, {})) == ["create:c", "create:a", "create:b"]
    assert acts(difference({}, both)) == ["remove:b", "remove:a", "remove:c"]


def test_order_passes_through_what_does_not_change() -> None:
    before = state(a=(1, []), b=(1, ["a"]), c=(1, ["b"]))
    after = state(a=(2, []), b=(1, ["a"]), c=(2, ["b"]))
    assert difference(after, before).steps[1].after == ("update:a",)


def test_an_object_is_removed_after_its_user_turned_to_another() -> None:
    before = state(app=(1, ["old"]), old=(1, []))
    after = state(app=(2, ["new"]), new=(1, []))
    assert acts(difference(after, before)) == ["create:new", "update:app", "remove:old"]


def test_a_change_says_what_changed_or_replaces_where_the_caller_says_so() -> None:
    before = {"p": Resource("p", {"spec": {"containers": [{"image": "a"}], "x": 1}})}
    after = {"p": Resource("p", {"spec": {"containers": [{"image": "b"}], "y": [True]}})}
    plan = difference(after, before)
    assert plan.steps[0].reason == (
        "spec.containers[0].image: a -> b, spec.x: 1 -> (absent), spec.y: (absent) -> [true]"
    )

    def images(_key: str, found: Sequence[Change]) -> bool:
        return any(change.path.endswith("image") for change in found)

    assert difference(after, before, replace_when=images).steps[0].action == "replace"


def test_a_reason_shows_no_secret_and_stays_short() -> None:
    before = {"p": Resource("p", {str(n): "old" for n in range(9)})}
    after = {"p": Resource("p", {str(n): "hunter2" * 50 for n in range(9)})}
    hidden = difference(after, before, secret=lambda _key, _path: True).steps[0].reason
    assert "hunter2" not in hidden and hidden.endswith("and 4 more")
    assert len(difference(after, before).steps[0].reason) < 500


def test_one_object_can_wait_for_another_to_go() -> None:
    before, after = state(old=(1, [])), state(new=(1, []))
    assert acts(difference(after, before)) == ["create:new", "remove:old"]
    assert acts(difference(after, before, frees=lambda _gone, _made: True)) == ["remove:old", "create:new"]


def test_a_circle_and_an_unknown_need_are_refused_by_name() -> None:
    with pytest.raises(InvalidInput, match="needs itself: a -> b -> a"):
        difference(state(a=(1, ["b"]), b=(1, ["a"]), c=(1, ["a"])), {})
    with pytest.raises(InvalidInput, match="a: needs ghost"):
        difference(state(a=(1, ["ghost"])), {})


def test_needs_of_the_actual_state_that_are_gone_do_not_matter() -> None:
    assert acts(difference({}, state(a=(1, ["ghost"])))) == ["remove:a"]


@pytest.mark.parametrize(
    ("one", "other", "same"), [(1, True, False), (1, 1.0, True), ([], {}, False), ("", None, False)]
)
def test_values_are_compared_as_json(one: object, other: object, same: bool) -> None:
    assert (changes({"v": one}, {"v": other}) == []) is same


def test_lines_and_json_say_the_same() -> None:
    before = state(gone=(1, []), app=(1, []))
    after = state(app=(2, []), new=(1, []))
    plan = difference(after, before)
    assert render.lines(plan) == [
        "+ new   create",
        "- gone  remove",
        "~ app   update  (v: 1 -> 2)",
        "1 to create, 1 to update, 1 to remove",
    ]
    shown = render.as_json(plan)
    assert json.loads(json.dumps(shown)) == shown and shown["counts"]["remove"] == 1
    assert "payload" not in shown["steps"][0]


def test_a_plan_survives_json_and_keeps_its_digest() -> None:
    plan = difference(state(a=(1, []), b=("x", ["a"])), state(c=(None, [])))
    again = Plan.from_json(json.loads(json.dumps(plan.as_json())))
    assert again == plan and again.digest == plan.digest


@pytest.mark.parametrize("value", [{}, {"steps": [{}]}, {"steps": 3}])
def test_a_malformed_plan_is_refused(value: Mapping[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        Plan.from_json(value)


def test_plans_made_by_hand_are_checked() -> None:
    with pytest.raises(InvalidInput, match="no such action"):
        Plan.of([Step("x", "explode", "x")])
    with pytest.raises(InvalidInput, match="same id"):
        Plan.of([Step("x", "run", "x"), Step("x", "run", "y")])
    assert [s.id for s in Plan.of([Step("a", "run", "a", after=("b",)), Step("b", "run", "b")]).steps] == [
        "b",
        "a",
    ]


KEYS = [f"k{number}" for number in range(8)]


@st.composite
def states(draw: st.DrawFn) -> dict[str, Resource]:
    """A state without circles: an object needs only those before it in a drawn order."""
    keys = draw(st.permutations(KEYS))[: draw(st.integers(0, len(KEYS)))]
    found = {}
    for index, key in enumerate(keys):
        needs = draw(st.lists(st.sampled_from(keys[:index]), unique=True, max_size=3)) if index else []
        found[key] = Resource(key, {"v": draw(st.integers(0, 2))}, tuple(needs))
    return found


@given(states(), states())
def test_any_two_states_have_a_plan_that_is_the_same_every_time(
    declared: dict[str, Resource], actual: dict[str, Resource]
) -> None:
    plan = difference(declared, actual)
    shuffled = difference(dict(reversed(declared.items())), dict(reversed(actual.items())))
    assert plan == shuffled
    position = {step.key: index for index, step in enumerate(plan.steps)}
    for step in plan.steps:
        assert all(position[need.partition(":")[2]] < position[step.key] for need in step.after)
        if step.action == "remove":
            for other in actual.values():
                if step.key in other.after and other.key in position:
                    assert position[other.key] < position[step.key]
        else:
            for need in declared[step.key].after:
                assert position.get(need, -1) < position[step.key]
    result = {key: resource.value for key, resource in actual.items()}
    for step in plan.steps:
        if step.action == "remove":
            del result[step.key]
        else:
            result[step.key] = step.payload
    assert result == {key: resource.value for key, resource in declared.items()}


@given(st.dictionaries(st.sampled_from(KEYS), st.lists(st.sampled_from(KEYS), max_size=3)))
def test_any_graph_is_ordered_or_refused(after: dict[str, list[str]]) -> None:
    try:
        found = ordered(after)
    except InvalidInput:
        return
    assert sorted(found) == sorted(after)
    assert all(found.index(need) < found.index(key) for key, needs in after.items() for need in needs)
