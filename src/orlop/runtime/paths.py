"""The log's path is somebody's input: it is opened by conmon with our rights (CVE-2025-0750's class)."""

from __future__ import annotations

import os
import stat

from orlop.kit import limits
from orlop.kit.errors import InvalidInput, NotFound


def checked_log(path: str) -> str:
    """`path`, if a log may be there: absolute, plain, its folder exists, and nothing but a file is in place.

    Raises InvalidInput, NotFound.
    """
    subject = f"log {path!r}"
    if not path.startswith("/") or ".." in path.split("/") or not path.isprintable():
        raise InvalidInput(subject, "is no plain absolute path", hint="give an absolute path without ..")
    if len(os.fsencode(path)) > limits.PATH_LENGTH:
        raise InvalidInput(subject, "is too long", hint="give a shorter path")
    if not os.path.isdir(os.path.dirname(path)):
        raise NotFound(subject, "its folder does not exist", hint="make the folder first")
    try:
        mode = os.lstat(path).st_mode
    except OSError:
        return path
    if not stat.S_ISREG(mode):
        raise InvalidInput(subject, "is there and is no regular file", hint="give another path")
    return path
