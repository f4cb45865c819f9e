"""Logging set-up for entry points; libraries only call logging.getLogger(__name__)."""

from __future__ import annotations

import logging
import sys
import time


class _Formatter(logging.Formatter):
    """`2026-11-21T12:00:00Z info orlop.pod: text`, one line a record."""

    def format(self, record: logging.LogRecord) -> str:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.created))
        text = record.getMessage().replace("\n", "\\n")
        line = f"{stamp} {record.levelname.lower()} {record.name}: {text}"
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line


def to_stderr(*, level: int = logging.WARNING) -> None:
    """Send Orlop's records to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter())
    root = logging.getLogger("orlop")
    root.handlers = [handler]
    root.setLevel(level)
    root.propagate = False
