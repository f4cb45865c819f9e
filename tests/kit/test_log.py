"""Logs: one record a line, in the form that was asked for, with the fields of the request it is about."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator

import pytest

from orlop.kit import log
from orlop.kit.errors import InvalidInput
from orlop.kit.tasks import in_thread

_ORLOP = logging.getLogger("orlop.test")


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    loggers = [logging.getLogger("orlop"), logging.getLogger()]
    before = [(logger.handlers, logger.level, logger.propagate) for logger in loggers]
    yield
    for logger, (handlers, level, propagate) in zip(loggers, before, strict=True):
        logger.handlers, logger.propagate = handlers, propagate
        logger.setLevel(level)


def test_json_lines_hold_the_message_the_level_and_the_fields(capsys: pytest.CaptureFixture[str]) -> None:
    log.to_stderr(level=logging.INFO, form="json")
    with log.bound(request="abc"):
        _ORLOP.warning('two\nlines "quoted"', extra={"fields": {"seconds": 1.5}})
    [line] = capsys.readouterr().err.splitlines()
    told = json.loads(line)
    assert told.pop("time").endswith("Z")
    assert told == {
        "level": "warning",
        "msg": 'two\nlines "quoted"',
        "logger": "orlop.test",
        "request": "abc",
        "seconds": 1.5,
    }


def test_logfmt_quotes_what_is_not_plain_and_stays_on_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    log.to_stderr(form="logfmt")
    _ORLOP.warning('a "b"\nc=\x1b[0m', extra={"fields": {"image": "docker.io/x:1"}})
    [line] = capsys.readouterr().err.splitlines()
    assert line.endswith('level=warning msg="a \\"b\\"\\nc=\\x1b[0m" logger=orlop.test image=docker.io/x:1')


def test_text_is_for_people_and_cannot_drive_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    log.to_stderr(form="text")
    _ORLOP.warning("a\x1b]0;title\x07b")
    assert capsys.readouterr().err.rstrip().endswith("warning orlop.test: a\\x1b]0;title\\x07b")


def test_away_from_a_terminal_the_form_is_logfmt(capsys: pytest.CaptureFixture[str]) -> None:
    log.to_stderr(form="auto")
    _ORLOP.warning("x")
    assert " level=warning msg=x " in capsys.readouterr().err


def test_journald_is_told_the_severity_of_every_line(capsys: pytest.CaptureFixture[str]) -> None:
    log.to_stderr(level=logging.DEBUG, form="text", journal=True)
    for level in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL):
        _ORLOP.log(level, "x")
    try:
        _ = 1 // 0
    except ZeroDivisionError:
        _ORLOP.exception("failed")
    lines = capsys.readouterr().err.splitlines()
    assert [line[:3] for line in lines[:5]] == ["<7>", "<6>", "<4>", "<3>", "<2>"]
    assert all(line.startswith("<3>") for line in lines[5:])
    assert lines[-1].endswith("ZeroDivisionError: integer division or modulo by zero")


@pytest.mark.parametrize("form", ["json", "logfmt"])
def test_a_traceback_is_a_field_of_its_line(form: str, capsys: pytest.CaptureFixture[str]) -> None:
    log.to_stderr(form=form)
    try:
        _ = 1 // 0
    except ZeroDivisionError:
        _ORLOP.exception("failed")
    [line] = capsys.readouterr().err.splitlines()
    assert "ZeroDivisionError" in line


def test_fields_are_those_of_the_request_also_in_its_threads(capsys: pytest.CaptureFixture[str]) -> None:
    log.to_stderr(form="logfmt")

    async def request(name: str) -> None:
        with log.bound(request=name):
            await asyncio.sleep(0)
            await in_thread(_ORLOP.warning, "from %s", name)

    async def both() -> None:
        await asyncio.gather(request("one"), request("two"))
        _ORLOP.warning("after")

    asyncio.run(both())
    *lines, after = capsys.readouterr().err.splitlines()
    assert sorted(line.split("msg=")[1] for line in lines) == [
        '"from one" logger=orlop.test request=one',
        '"from two" logger=orlop.test request=two',
    ]
    assert "request" not in after


def test_a_field_cannot_pass_itself_off_as_the_level(capsys: pytest.CaptureFixture[str]) -> None:
    log.to_stderr(form="json")
    _ORLOP.warning("x", extra={"fields": {"level": "debug"}})
    assert json.loads(capsys.readouterr().err)["level"] == "warning"


def test_libraries_warnings_are_sent_the_same_way(capsys: pytest.CaptureFixture[str]) -> None:
    log.to_stderr(level=logging.DEBUG, form="logfmt", others=True)
    logging.getLogger("somebody.else").warning("heard")
    logging.getLogger("somebody.else").info("not heard")
    [line] = capsys.readouterr().err.splitlines()
    assert "msg=heard logger=somebody.else" in line


def test_a_wrong_level_or_format_is_told_with_those_that_there_are() -> None:
    assert log.level_of("debug", "x") == logging.DEBUG
    assert log.form_of("json", "x") == "json"
    with pytest.raises(InvalidInput, match="is no level") as caught:
        log.level_of("loud", "log_level")
    assert "warning" in caught.value.hint
    with pytest.raises(InvalidInput, match="no format"):
        log.form_of("xml", "log_format")
