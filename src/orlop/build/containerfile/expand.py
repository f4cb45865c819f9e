"""STUB, being written: the signatures hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from orlop.build.containerfile.model import Instruction

I = TypeVar("I", bound=Instruction)


def word(text: str, variables: Mapping[str, str], escape: str = "\\") -> str:
    """`text` with variables replaced and quotes taken away, as one word. Raises InvalidInput."""
    raise NotImplementedError


def words(text: str, variables: Mapping[str, str], escape: str = "\\") -> list[str]:
    """The same, split into words afterwards where no quotes hold it together. Raises InvalidInput."""
    raise NotImplementedError


def expanded(instruction: I, variables: Mapping[str, str], escape: str = "\\") -> I:
    """The instruction with final values: what the language says is expanded in it is, the rest stays.

    RUN: only --mount options (`mounts` are made here). ENV, LABEL: all values see `variables` as they are
    before the instruction. CMD, ENTRYPOINT, SHELL, HEALTHCHECK, ONBUILD, MAINTAINER: unchanged.
    FROM: give it `scope.Globals.variables`. ARG: use `Scope.arg`, which expands by itself. Raises
    BadContainerfile with the line.
    """
    raise NotImplementedError
