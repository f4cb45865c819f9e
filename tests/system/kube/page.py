"""The tables of docs/play.md, from `fields.TABLE`.

Write them anew: .venv/bin/python -m tests.system.kube.page
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from msgspec import inspect

from orlop.system.kube import model, volume_model
from orlop.system.kube.fields import TABLE
from orlop.system.kube.shape import field_types
from orlop.system.kube.wire import Wire

PAGE = Path(__file__).parents[3] / "docs/play.md"
BEGIN = "<!-- generated from orlop.system.kube.fields by tests/system/kube/page.py: begin -->\n"
END = "<!-- end -->\n"

_KINDS: tuple[type[Wire], ...] = (
    model.Pod,
    model.Deployment,
    volume_model.ConfigMap,
    volume_model.Secret,
    volume_model.PersistentVolumeClaim,
)


def children(kind: inspect.Type) -> Iterator[tuple[type[Wire], str]]:
    """The structures that a field holds, with what is written after its name."""
    match kind:
        case inspect.StructType():
            yield kind.cls, ""  # type: ignore[misc]
        case inspect.VarTupleType():
            for structure, _ in children(kind.item_type):
                yield structure, "[]"
        case inspect.UnionType():
            for each in kind.types:
                yield from children(each)


def places(kind: type[Wire], path: str = "") -> Iterator[tuple[type[Wire], str]]:
    """Each structure below `kind` and where it stands."""
    yield kind, path
    for name, field in field_types(kind).items():
        for structure, after in children(field):
            yield from places(structure, f"{path}.{name}{after}".lstrip("."))


def rendered() -> str:
    """One section a kind, one table a structure: fields of the same class in one row."""
    shown: set[type[Wire]] = set()
    lines: list[str] = []
    for kind in _KINDS:
        lines += [f"### {kind.__name__}", ""]
        where: dict[type[Wire], list[str]] = {}
        for structure, path in places(kind):
            where.setdefault(structure, []).append(path)
        for structure, found in where.items():
            paths = [path for path in found if not path.startswith("spec.initContainers[]")]
            if structure not in shown:
                lines += _table(structure, paths)
                shown.add(structure)
    return "\n".join(lines).rstrip("\n") + "\n"


def _table(structure: type[Wire], paths: list[str]) -> list[str]:
    rows: dict[tuple[str, str], list[str]] = {}
    for field in TABLE[structure].values():
        note = field.why
        if field.accepts:
            values = ", ".join(f"`{_yaml(value)}`" for value in field.accepts)
            note += f" ({values}: nothing is said)"
        rows.setdefault((field.kind, note), []).append(f"`{field.name}`")
    title = ", ".join(f"`{path}`" for path in paths) if paths != [""] else "the object itself"
    head = [f"**{title}**", "", "| fields | class | note |", "|---|---|---|"]
    return [*head, *(f"| {' '.join(names)} | {kind} | {note} |" for (kind, note), names in rows.items()), ""]


def _yaml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_yaml(each)}" for key, each in value.items()) + "}"
    return str(value)


def with_tables(page: str) -> str:
    before, _, rest = page.partition(BEGIN)
    return before + BEGIN + "\n" + rendered() + "\n" + END + rest.partition(END)[2]


if __name__ == "__main__":
    PAGE.write_text(with_tables(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
