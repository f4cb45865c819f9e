"""Logging set-up for entry points; libraries only call logging.getLogger(__name__).

`bound(request="...")` adds fields to every record that is logged inside, also in the threads and tasks to
which the context is carried (kit.tasks does; contextvars).
"""

from __future__ import annotations

import contextlib
import contextvars
import json
import logging
import sys
import time
from collections.abc import Iterator, Mapping

from orlop.kit import limits
from orlop.kit.errors import InvalidInput

FORMATS = ("auto", "text", "logfmt", "json")
LEVELS = ("debug", "info", "warning", "error")

#: syslog's severities (sd-daemon(3)), which journald takes from a `<N>` before the line.
_SEVERITIES = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))
_DEBUG_SEVERITY = 7
_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.:/@+-,%[]()")

_fields: contextvars.ContextVar[Mapping[str, str]] = contextvars.ContextVar("log_fields")
_nothing: Mapping[str, str] = {}


@contextlib.contextmanager
def bound(**fields: str) -> Iterator[None]:
    """Every record that is logged inside has these fields too."""
    token = _fields.set({**_fields.get(_nothing), **fields})
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):  # an async generator that another task closes
            _fields.reset(token)


def bound_fields() -> Mapping[str, str]:
    """What `bound` has said here."""
    return _fields.get(_nothing)


class _Formatter(logging.Formatter):
    """One record as one line (of `text`, tracebacks follow). `severity`: journald's `<N>` before each line.

    A record's own fields are given as `extra={"fields": {...}}`.
    """

    def __init__(self, form: str, *, severity: bool) -> None:
        super().__init__()
        self._form = form
        self._severity = severity

    def format(self, record: logging.LogRecord) -> str:
        given = {**bound_fields(), **getattr(record, "fields", {})}
        fields = {key: _shortened(text) if isinstance(text, str) else text for key, text in given.items()}
        line = {"json": self._json, "logfmt": self._logfmt}.get(self._form, self._text)(record, fields)
        if not self._severity:
            return line
        mark = f"<{_severity(record.levelno)}>"
        return "\n".join(mark + part for part in line.split("\n"))

    def _text(self, record: logging.LogRecord, fields: Mapping[str, object]) -> str:
        """`2026-11-21T12:00:00Z info orlop.pod: text key=value`."""
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.created))
        text = _escaped(_shortened(record.getMessage()))
        added = "".join(f" {key}={_quoted(str(value))}" for key, value in fields.items())
        line = f"{stamp} {record.levelname.lower()} {record.name}: {text}{added}"
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line

    def _parts(self, record: logging.LogRecord, fields: Mapping[str, object]) -> dict[str, object]:
        parts: dict[str, object] = {
            "time": _precise(record.created),
            "level": record.levelname.lower(),
            "msg": _shortened(record.getMessage()),
            "logger": record.name,
        }
        parts.update((key, value) for key, value in fields.items() if key not in parts)
        if record.exc_info:
            parts["traceback"] = self.formatException(record.exc_info)
        return parts

    def _json(self, record: logging.LogRecord, fields: Mapping[str, object]) -> str:
        return json.dumps(self._parts(record, fields), ensure_ascii=True, default=str)

    def _logfmt(self, record: logging.LogRecord, fields: Mapping[str, object]) -> str:
        return " ".join(f"{key}={_quoted(str(value))}" for key, value in self._parts(record, fields).items())


def to_stderr(
    *, level: int = logging.WARNING, form: str = "text", journal: bool = False, others: bool = False
) -> None:
    """Send Orlop's records to standard error; with `others` also what libraries warn of.

    `form` is one of FORMATS, `auto` being `text` on a terminal and `logfmt` elsewhere; `journal` marks each
    line with its severity for journald. May be called again, to change both.
    """
    if form == "auto":
        form = "text" if sys.stderr.isatty() else "logfmt"
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter(form, severity=journal))
    root = logging.getLogger("orlop")
    root.handlers = [handler]
    root.setLevel(level)
    root.propagate = False
    if others:
        logging.getLogger().handlers = [handler]
        logging.getLogger().setLevel(logging.WARNING)


def level_of(name: str, where: str) -> int:
    """logging's number of one of LEVELS. Raises InvalidInput about `where`."""
    if name not in LEVELS:
        raise InvalidInput(f"{where} {name!r}", "is no level", hint=f"one of {', '.join(LEVELS)}")
    return int(getattr(logging, name.upper()))


def form_of(name: str, where: str) -> str:
    """One of FORMATS. Raises InvalidInput about `where`."""
    if name not in FORMATS:
        raise InvalidInput(f"{where} {name!r}", "is no format", hint=f"one of {', '.join(FORMATS)}")
    return name


def _severity(level: int) -> int:
    return next((number for least, number in _SEVERITIES if level >= least), _DEBUG_SEVERITY)


def _precise(moment: float) -> str:
    whole = int(moment // 1)
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole))
    return f"{stamp}.{int((moment - whole) * 1e6):06d}Z"


def _shortened(text: str) -> str:
    """One failure's words, which may quote megabytes of an image, do not fill the disk."""
    if len(text) <= limits.LOG_MESSAGE:
        return text
    return f"{text[: limits.LOG_MESSAGE]} ... ({len(text)} characters)"


def _escaped(text: str) -> str:
    """On one line, and nothing that drives a terminal."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _quoted(text: str) -> str:
    """A value of logfmt: quoted where it holds anything but plain characters."""
    if text and _PLAIN.issuperset(text):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{_escaped(escaped)}"'
