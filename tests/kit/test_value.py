"""kit.value gives the frozen dataclasses that the standard module gives."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Mapping

import pytest

from orlop.kit.value import dataclass, field


@dataclass(frozen=True)
class Base:
    name: str
    size: int = 3


@dataclass(frozen=True)
class Point(Base):
    labels: Mapping[str, str] = field(default_factory=dict)
    inner: Base = Base("inner")


def test_values_are_made_by_position_and_by_name() -> None:
    assert Point("a", 1) == Point(name="a", size=1)
    assert Point("a").size == 3
    assert Point("a").inner == Base("inner", 3)


def test_a_default_factory_makes_a_new_one_for_every_value() -> None:
    assert Point("a").labels == {}
    assert Point("a").labels is not Point("a").labels


def test_values_are_frozen() -> None:
    value = Base("a")
    with pytest.raises(AttributeError, match="frozen"):
        value.name = "b"  # type: ignore[misc]
    with pytest.raises(AttributeError, match="frozen"):
        del value.size


def test_equality_and_hash_go_by_type_and_fields() -> None:
    assert Base("a") == Base("a")
    assert hash(Base("a")) == hash(Base("a"))
    assert Base("a") != Base("b")
    assert Point("inner") != Base("inner")


@pytest.mark.parametrize(
    "call",
    [
        lambda: Base(),  # type: ignore[call-arg]
        lambda: Base("a", 1, 2),  # type: ignore[call-arg]
        lambda: Base("a", name="b"),  # type: ignore[misc]
        lambda: Base("a", colour=1),  # type: ignore[call-arg]
    ],
)
def test_a_wrong_call_is_a_type_error(call: object) -> None:
    with pytest.raises(TypeError):
        call()  # type: ignore[operator]


def test_the_standard_functions_work_on_values() -> None:
    point = Point("a", labels={"k": "v"})
    assert dataclasses.replace(point, name="b") == Point("b", labels={"k": "v"})
    assert [f.name for f in dataclasses.fields(point)] == ["name", "size", "labels", "inner"]
    assert dataclasses.asdict(point)["inner"] == {"name": "inner", "size": 3}
    assert repr(Base("a")) == "Base(name='a', size=3)"
    match point:
        case Point(name, size):
            assert (name, size) == ("a", 3)


def test_making_values_imports_neither_dataclasses_nor_inspect() -> None:
    code = (
        "import sys\n"
        "from orlop.kit.value import dataclass\n"
        "@dataclass(frozen=True)\n"
        "class A:\n    a: int = 1\n"
        "A()\n"
        "assert not {'dataclasses', 'inspect', 'typing'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-I", "-c", code], check=True)
