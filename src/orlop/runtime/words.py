"""What a runtime or conmon said, made into a cause that fits into a line."""

from __future__ import annotations

import json

from orlop.kit import limits

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from orlop.kit.process import Completed

_OVER = ("not running", "does not exist", "no such process", "already", "not found", "stopped", "not created")


def is_over(done: Completed) -> bool:
    """Whether it says that the container has ended."""
    words = done.stderr.decode(errors="replace").lower()
    return any(sign in words for sign in _OVER)


def last_error(path: str) -> str:
    """The last error that the runtime wrote to its log (one JSON object a line)."""
    last = ""
    for line in beginning(path).splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict) and entry.get("level") in ("error", "fatal") and entry.get("msg"):
            last = str(entry["msg"])
    return last.strip()


def last_line(words: str) -> str:
    """The last line of what a runtime said, without its time stamp."""
    lines = [line.strip() for line in words.splitlines() if line.strip()]
    line = lines[-1] if lines else ""
    if 'msg="' in line:
        line = line.partition('msg="')[2].rstrip('"').replace('\\"', '"')
    return line


def beginning(path: str) -> str:
    """The file's first 64 KiB as text; "" where there is none."""
    try:
        with open(path, "rb") as stream:
            return stream.read(64 * limits.KIB).decode(errors="replace").strip()
    except OSError:
        return ""
