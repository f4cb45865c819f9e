"""A plan for people and for programs; nothing here prints."""

from __future__ import annotations

from typing import Any

from orlop.plan.model import ACTIONS, Plan

_SIGNS = {"create": "+", "replace": "-/+", "update": "~", "remove": "-", "run": ">"}


def lines(plan: Plan) -> list[str]:
    """`+ pod/hello  create`, one line a step in the plan's order, and a line that counts them."""
    if not plan:
        return ["nothing to do"]
    sign_width = max(len(_SIGNS[step.action]) for step in plan.steps)
    key_width = max(len(step.key) for step in plan.steps)
    found = []
    for step in plan.steps:
        reason = f"  ({step.reason})" if step.action in ("update", "replace", "run") and step.reason else ""
        found.append(f"{_SIGNS[step.action]:<{sign_width}} {step.key:<{key_width}}  {step.action}{reason}")
    return [*found, summary(plan)]


def summary(plan: Plan) -> str:
    """`1 to create, 2 to remove`."""
    counts = counted(plan)
    return (
        ", ".join(f"{number} to {action}" for action, number in counts.items() if number) or "nothing to do"
    )


def counted(plan: Plan) -> dict[str, int]:
    return {action: sum(step.action == action for step in plan.steps) for action in ACTIONS}


def as_json(plan: Plan) -> dict[str, Any]:
    """The plan without payloads, which may hold secrets."""
    steps = [
        {"id": s.id, "action": s.action, "key": s.key, "reason": s.reason, "after": list(s.after)}
        for s in plan.steps
    ]
    return {"steps": steps, "counts": counted(plan)}
