"""docs/exit-codes.md against the classes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from orlop.cli.errors import exit_code, report
from orlop.kit import errors
from orlop.kit.errors import Conflict, NotFound, OrlopError
from orlop.runtime.errors import CommandDenied, CommandNotFound

PAGE = (Path(__file__).parents[2] / "docs" / "exit-codes.md").read_text(encoding="utf-8")


def test_the_page_of_exit_codes_says_what_the_classes_say() -> None:
    rows = re.findall(r"^\| (\d+) \| ([\w, ]+) \|", PAGE.partition("## ")[0], re.MULTILINE)
    documented = {
        name.strip(): int(code) for code, names in rows for name in names.split(",") if name.strip()
    }
    actual = {
        name: kind.exit_code
        for name, kind in vars(errors).items()
        if isinstance(kind, type) and issubclass(kind, OrlopError)
    }
    assert documented == actual


def test_run_and_exec_keep_their_own_codes_for_failures_of_orlop() -> None:
    missing = NotFound("x", "y", hint="z")
    assert exit_code(missing, ["image", "list"]) == 3
    assert exit_code(missing, ["--root", "/x", "run", "busybox"]) == 125
    assert exit_code(missing, ["exec", "a", "b"]) == 125
    assert exit_code(CommandNotFound("x", "y", hint="z"), ["exec", "a", "b"]) == 127
    assert exit_code(CommandDenied("x", "y", hint="z"), ["run", "a", "b"]) == 126


def test_an_error_is_told_with_its_cause_and_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    assert report(Conflict("pod web", "is in use", hint="stop it"), ["ps"]) == 4
    assert capsys.readouterr().err == "error: pod web: is in use\nhint: stop it\n"


def test_the_systems_refusals_are_told_like_others(capsys: pytest.CaptureFixture[str]) -> None:
    assert report(PermissionError(13, "Permission denied", "/x"), ["ps"]) == 5
    assert report(OSError(28, "No space left on device", "/x"), ["ps"]) == 6
    assert "error: /x: No space left on device\nhint: make room" in capsys.readouterr().err


def test_what_nobody_foresaw_is_an_internal_error_without_a_traceback(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ORLOP_DEBUG", raising=False)
    assert report(ZeroDivisionError("by zero"), ["ps"]) == 1
    told = capsys.readouterr().err
    assert "internal error: ZeroDivisionError" in told
    assert "Traceback" not in told
    monkeypatch.setenv("ORLOP_DEBUG", "1")
    try:
        raise ZeroDivisionError("by zero")
    except ZeroDivisionError as error:
        report(error, ["ps"])
    assert "Traceback" in capsys.readouterr().err
