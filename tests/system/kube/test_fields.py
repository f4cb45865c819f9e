"""The table of fields against the API and against the structures."""

from __future__ import annotations

from pathlib import Path

import pytest

from orlop.system.kube.fields import TABLE
from orlop.system.kube.model import Pod
from orlop.system.kube.shape import field_types
from orlop.system.kube.wire import Wire
from tests.system.kube import page

FIELDS = [
    line
    for line in (Path(__file__).parent / "pod_fields.txt").read_text(encoding="utf-8").splitlines()
    if not line.startswith("#")
]
_TOP = {"apiVersion", "kind"}  # decode.py reads them


def class_of(path: str) -> str:
    """honoured, harmless or refused: a field's own class, or that of what it is in."""
    kind: type[Wire] = Pod
    for name in path.replace("[]", "").split("."):
        field = TABLE[kind][name]
        if field.kind != "honoured":
            return field.kind
        found = [each for each, _ in page.children(field_types(kind)[name])] if name not in _TOP else []
        kind = found[0] if found else Wire
    return "honoured"


def test_every_field_of_the_pod_api_has_a_class() -> None:
    unknown = []
    for path in FIELDS:
        try:
            class_of(path)
        except KeyError:
            unknown.append(path)
    assert unknown == []
    assert len(FIELDS) > 1000


@pytest.mark.parametrize("kind", TABLE, ids=lambda kind: kind.__name__)
def test_what_is_honoured_is_what_the_structure_has(kind: type[Wire]) -> None:
    rows = TABLE[kind].values()
    honoured = {field.name for field in rows if field.kind == "honoured"}
    honoured -= _TOP - set(field_types(kind))
    others = {field.name for field in rows if field.kind != "honoured"}
    assert honoured <= set(field_types(kind))
    assert set(field_types(kind)) - honoured <= others
    assert all(field.why for field in rows if field.kind != "honoured")


def test_the_table_has_no_field_that_the_api_has_not() -> None:
    known = {path.replace("[]", "") for path in FIELDS}
    invented = [
        f"{path}.{name}".lstrip(".")
        for kind, path in page.places(Pod)
        for name in TABLE[kind]
        if f"{path}.{name}".lstrip(".").replace("[]", "") not in known
    ]
    assert invented == []


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("spec.nodeSelector", "harmless"),
        ("spec.affinity.podAffinity", "harmless"),
        ("spec.containers[].volumeDevices", "refused"),
        ("spec.volumes[].csi.driver", "refused"),
        ("spec.resourceClaims", "refused"),
        ("spec.runtimeClassName", "refused"),
        ("spec.initContainers[].startupProbe.grpc.service", "honoured"),
        ("spec.containers[].securityContext.seLinuxOptions.level", "refused"),
        ("metadata.managedFields", "harmless"),
        ("status.podIP", "harmless"),
    ],
)
def test_fields_are_of_the_class_that_the_page_says(path: str, kind: str) -> None:
    assert class_of(path) == kind


def test_the_page_says_what_the_table_says() -> None:
    text = page.PAGE.read_text(encoding="utf-8")
    assert text == page.with_tables(text), "write it anew: .venv/bin/python -m tests.system.kube.page"
