"""Ignore files: what they leave out, what they bring back."""

from __future__ import annotations

import time

import pytest

from orlop.build.context.ignore import Ignore, parse
from orlop.kit import limits
from orlop.kit.errors import InvalidInput, LimitExceeded


@pytest.mark.parametrize(
    ("patterns", "out", "there"),
    [
        (["a"], ["a", "a/b", "a/b/c"], ["b/a", "ab"]),
        (["*.txt"], ["x.txt", "x.txt/y"], ["d/x.txt"]),
        (["**/*.txt"], ["x.txt", "d/x.txt", "d/e/x.txt"], ["x.txtx"]),
        (["a/**"], ["a/b", "a/b/c"], ["a", "ab"]),
        (["**/b"], ["b", "a/b", "a/c/b", "a/b/x"], ["ab"]),
        (["a/**/z"], ["a/z", "a/b/z", "a/b/c/z"], ["z", "a/zz"]),
        (["**"], ["a", "a/b"], ["", "."]),
        (["*", "!keep", "!d/keep"], ["a", "d/x", "d"], ["keep", "keep/x", "d/keep"]),
        (["*", "!*.md", "README.md"], ["a", "README.md"], ["NOTES.md"]),
        (["a?c", "[x-z]", "[^a-z]1"], ["abc", "x", "A1"], ["a/c", "w", "a1"]),
        (["\\*", "\\!a", "[!]b"], ["*", "!a", "!b"], ["x", "a", "b"]),
        (["d/../e", "./f", "/g"], ["e", "f"], ["d"]),
    ],
)  # fmt: skip
def test_patterns(patterns: list[str], out: list[str], there: list[str]) -> None:
    ignore = Ignore(parse("\n".join(patterns).encode()))
    assert [path for path in out if not ignore.excludes(path)] == []
    assert [path for path in there if ignore.excludes(path)] == []


def test_the_file() -> None:
    text = "\ufeff# note\n\n  a  \n #b\n/c/\n!/d\n! e\n./f/../g\n!\r\n".encode()
    assert parse(text) == ["a", "#b", "c", "!d", "!e", "g", "!"]
    for wrong in (["!"], ["[a"], ["a\\"], ["[a-]"], ["[]"]):
        with pytest.raises(InvalidInput) as caught:
            Ignore(wrong, "x.containerignore")
        assert caught.value.subject == "x.containerignore"
    with pytest.raises(LimitExceeded):
        Ignore(["a"] * (limits.IGNORE_PATTERNS + 1))


def test_no_pattern_takes_for_ever() -> None:
    began = time.monotonic()
    ignore = Ignore(["*a" * 60 + "b", "**/a" * 60 + "/b", "*" * 200 + "b", "?*" * 60 + "b"])
    assert not ignore.excludes("a" * 250 + "/" + "a/" * 100 + "c")
    assert time.monotonic() - began < 10
