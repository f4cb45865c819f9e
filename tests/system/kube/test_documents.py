from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orlop.kit import limits
from orlop.system.kube.documents import Value, documents, line_of
from orlop.system.kube.problem import InvalidDeclaration


def read(text: str | bytes) -> Value:
    data = text.encode() if isinstance(text, str) else text
    return documents(data, source="test.yaml")[0][1]


def refused(text: str | bytes) -> str:
    with pytest.raises(InvalidDeclaration) as caught:
        read(text)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("yes", True),
        ("On", True),
        ("n", False),
        ("OFF", False),
        ('"yes"', "yes"),
        ("yEs", "yEs"),
        ("~", None),
        ("0644", 420),
        ("0o17", 15),
        ("0x1F", 31),
        ("0b101", 5),
        ("1_000", 1000),
        ("-7", -7),
        ("089", 89.0),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("1:30", "1:30"),
        ("2026-01-02", "2026-01-02"),
        ("1.2.3", "1.2.3"),
        ("!!str 5", "5"),
        ("!!binary aGk=", "hi"),
        ("=", "="),
        ("'12'", "12"),
    ],
)
def test_scalars_are_read_as_kubernetes_reads_them(text: str, value: object) -> None:
    found = read(f"a: {text}\nb: 1")
    assert isinstance(found, dict)
    assert found["a"] == value
    assert type(found["a"]) is type(value)


def test_keys_are_text_also_where_they_look_like_something_else() -> None:
    assert read("{1: a, on: b, 1.5: c}") == {"1": "a", "true": "b", "1.5": "c"}


def test_a_key_that_stands_twice_is_refused_with_both_lines() -> None:
    assert "line 3: key 'a' stands twice, first in line 1" in refused("a: 1\nb: 2\na: 3\n")


def test_merge_keys_fill_in_what_is_not_given() -> None:
    assert read("base: &b {k: 1, l: 2}\nuse: {<<: *b, l: 3}") == {
        "base": {"k": 1, "l": 2},
        "use": {"k": 1, "l": 3},
    }


def test_lines_are_counted_over_all_documents() -> None:
    found = documents(b"a: 1\n---\n\nb:\n- c: 2\n- d: 3\n", source="x")
    assert [number for number, _ in found] == [1, 2]
    assert line_of(found[1][1], ("b", 1, "d")) == 6
    assert line_of(found[1][1], ("b", 1, "absent")) == 6


def test_empty_documents_are_passed_over() -> None:
    assert [number for number, _ in documents(b"---\n---\na: 1\n---\n# nothing\n", source="x")] == [2]


def test_a_bomb_of_aliases_is_refused() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    for level in range(1, 9):
        lines.append(f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]")
    assert "aliases expanded" in refused("\n".join(lines))


def test_a_long_text_behind_many_aliases_is_refused() -> None:
    text = f"a: &a {'x' * 1_000_000}\nb: [{', '.join(['*a'] * 100)}]"
    assert "aliases expanded" in refused(text)


def test_nesting_is_bounded() -> None:
    assert "levels deep" in refused("[" * 200 + "]" * 200)
    assert "levels deep" in refused("[" * 100_000)
    assert "levels deep" in refused("- " * 300 + "x")


def test_an_alias_within_its_own_anchor_is_refused() -> None:
    assert "before the end" in refused("a: &a [*a]")


def test_size_is_bounded() -> None:
    assert "longer than" in refused(b"a" * (limits.YAML_SIZE + 1))


@pytest.mark.parametrize(
    "text",
    [
        "a: b: c",
        "\t- x",
        "a: !!python/object:os.system x",
        "a: .inf",
        "a: *nobody",
        b"\xff\xfe\x00",
        "? [a]\n: b",
    ],
)
def test_what_is_not_plain_yaml_is_refused(text: str | bytes) -> None:
    assert refused(text).startswith("test.yaml: ")


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        documents(data, source="any")
    except InvalidDeclaration:
        return


@given(st.text(st.characters(codec="ascii"), max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        documents(text.encode(), source="any")
    except InvalidDeclaration:
        return
