"""Which stages a target needs, each stage's own needs first."""

from __future__ import annotations

from orlop.build.containerfile import model
from orlop.kit.errors import InvalidInput, NotFound


def target_of(parsed: model.Containerfile, name: str) -> model.Stage:
    """The stage that is built: the one called so, else the last. Raises NotFound, InvalidInput."""
    if not parsed.stages:
        raise InvalidInput(parsed.name, "has no FROM", hint="begin it with FROM IMAGE, or FROM scratch")
    if not name:
        return parsed.stages[-1]
    stage = parsed.stage(name)
    if stage is None:
        known = ", ".join(stage.name for stage in parsed.stages)
        raise NotFound(f"stage {name}", f"is not in {parsed.name}", hint=f"stages are: {known}")
    return stage


def needed(parsed: model.Containerfile, target: model.Stage) -> list[model.Stage]:
    """The target and what it is made of, in the file's order.

    Names with variables are known only when they are reached; such a stage is begun then.
    """
    found: dict[int, model.Stage] = {}
    pending = [target]
    while pending:
        stage = pending.pop()
        if stage.index in found:
            continue
        found[stage.index] = stage
        for name in _names(stage):
            before = parsed.stage(name, before=stage.index)
            if before is not None:
                pending.append(before)
    return [found[index] for index in sorted(found)]


def _names(stage: model.Stage) -> list[str]:
    names = [stage.base.image]
    for instruction in stage.instructions:
        if isinstance(instruction, model.Copy) and instruction.from_:
            names.append(instruction.from_)
        if isinstance(instruction, model.Run):
            for text in instruction.mount_options:
                names += [
                    option.partition("=")[2] for option in text.split(",") if option.startswith("from=")
                ]
    return names
