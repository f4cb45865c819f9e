"""STUB, being written: the signatures hold."""

from __future__ import annotations

from orlop.build.containerfile.model import Containerfile, Instruction


def read(path: str) -> bytes:
    """The file's bytes; "-" is standard input. Raises NotFound, LimitExceeded (limits.CONTAINERFILE_SIZE)."""
    raise NotImplementedError


def parse(data: bytes, name: str) -> Containerfile:
    """The whole file, checked as far as it can be without values. Raises BadContainerfile, LimitExceeded."""
    raise NotImplementedError


def trigger(expression: str, name: str, escape: str = "\\") -> Instruction:
    """The instruction of an ONBUILD that a base image carries (`name` is the image's, for errors)."""
    raise NotImplementedError
