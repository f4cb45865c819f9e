"""The error tree: its picture, its exit codes and their documentation agree."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from orlop.kit import errors

CLASSES: list[type[errors.OrlopError]] = [v for v in vars(errors).values() if isinstance(v, type)]
DOCS = Path(__file__).parents[2] / "docs" / "exit-codes.md"


def _pictured() -> dict[str, tuple[str, int]]:
    """Name -> (parent's name, exit code), as the picture in the module's docstring has it."""
    found: dict[str, tuple[str, int]] = {}
    path: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        match = re.match(r"^ {4}([ │├└─]*)(\w+) +exit (\d+)", line)
        if match:
            depth = len(match[1]) // 4
            path[depth:] = [match[2]]
            found[match[2]] = (path[depth - 1] if depth else "Exception", int(match[3]))
    return found


def test_the_picture_is_the_tree() -> None:
    real = {cls.__name__: (cls.__base__.__name__, cls.exit_code) for cls in CLASSES if cls.__base__}
    assert _pictured() == real and len(real) == 12


def test_each_kind_has_an_exit_code_of_its_own() -> None:
    kinds = [cls for cls in CLASSES if "exit_code" in vars(cls)]
    assert len({cls.exit_code for cls in kinds}) == len(kinds)


def test_exit_codes_are_documented() -> None:
    rows = re.findall(r"^\| (\d+) \| ([A-Z]\w+(?:, \w+)*) \|", DOCS.read_text(), re.MULTILINE)
    documented = {name: int(code) for code, names in rows for name in names.split(", ") if name.strip()}
    assert documented == {cls.__name__: cls.exit_code for cls in CLASSES}


def test_an_error_says_what_happened_to_what_and_what_to_do() -> None:
    error = errors.NotFound("pod hello", "does not exist", hint="see: orlop pod list")
    assert str(error) == "pod hello: does not exist"
    assert error.as_json() == {
        "error": "NotFound",
        "subject": "pod hello",
        "cause": "does not exist",
        "hint": "see: orlop pod list",
    }


@pytest.mark.parametrize("cls", CLASSES)
def test_every_error_is_one_of_ours(cls: type[Exception]) -> None:
    assert issubclass(cls, errors.OrlopError)
