"""What several requests have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orlop.kit import limits
from orlop.kit.errors import InvalidInput


def required(request: Any, field: str = "") -> str:
    """The ID that the request is about: `container_id`, else `pod_sandbox_id`. Raises InvalidInput."""
    names = request.DESCRIPTOR.fields_by_name
    field = field or ("container_id" if "container_id" in names else "pod_sandbox_id")
    identifier: str = getattr(request, field)
    if not identifier:
        raise InvalidInput(f"{request.DESCRIPTOR.name}: {field}", "is empty", hint="send an ID")
    return identifier


def command(request: Any) -> tuple[str, ...]:
    """What is to be executed. Raises InvalidInput."""
    words = tuple(request.cmd)
    if not words or not words[0]:
        raise InvalidInput(f"{request.DESCRIPTOR.name}: cmd", "is empty", hint="send a command")
    if any("\0" in word for word in words):
        raise InvalidInput(f"{request.DESCRIPTOR.name}: cmd", "holds a NUL byte", hint="take it out")
    return words


def seconds(asked: int) -> float:
    """A time limit, within bounds that every system call takes."""
    return float(max(0, min(asked, limits.CRI_LONGEST)))


def check_words(words: Mapping[str, str], subject: str) -> None:
    """Labels or annotations, which every list repeats. Raises InvalidInput beyond limits.CRI_WORDS."""
    if sum(len(key) + len(value) for key, value in words.items()) > limits.CRI_WORDS:
        raise InvalidInput(subject, f"are longer than {limits.CRI_WORDS} together", hint="shorten them")


def check_streams(request: Any) -> None:
    """Raises InvalidInput where none is asked for, or standard error beside a terminal."""
    if not (request.stdin or request.stdout or request.stderr):
        raise InvalidInput(request.DESCRIPTOR.name, "asks for no stream", hint="one of stdin, stdout, stderr")
    if request.tty and request.stderr:
        raise InvalidInput(
            request.DESCRIPTOR.name, "a terminal has no standard error of its own", hint="leave stderr out"
        )
