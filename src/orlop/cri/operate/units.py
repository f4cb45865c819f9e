"""systemd's units for the daemon, with the path of the program that writes them."""

from __future__ import annotations

import importlib.resources
import os

from orlop.kit import files
from orlop.kit.errors import InvalidInput

UNITS = ("orlop.service", "orlop.socket")
_PROGRAM = "/usr/bin/orlop"  # in the unit as it is shipped


def write(folder: str, program: str) -> list[str]:
    """Write the units into `folder`; returns their paths. Raises InvalidInput where it is no folder."""
    if not os.path.isdir(folder):
        raise InvalidInput(folder, "is no folder", hint="such as /etc/systemd/system")
    program = os.path.abspath(program)
    paths = []
    for name in UNITS:
        path = os.path.join(folder, name)
        files.write_atomic(path, text(name).replace(_PROGRAM, program).encode())
        paths.append(path)
    return paths


def text(name: str) -> str:
    """A unit as it is shipped."""
    return (importlib.resources.files("orlop.cri.operate") / "systemd" / name).read_text(encoding="utf-8")
