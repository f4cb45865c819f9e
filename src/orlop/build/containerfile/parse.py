"""The face of the parser: a file's bytes to its stages."""

from __future__ import annotations

import sys
from typing import IO

from orlop.build.containerfile import instructions, words
from orlop.build.containerfile.errors import BadContainerfile, bad
from orlop.build.containerfile.model import (
    Arg,
    Cmd,
    Containerfile,
    Entrypoint,
    Env,
    From,
    Healthcheck,
    Instruction,
    Label,
    Maintainer,
    Place,
    Stage,
    Warned,
)  # fmt: skip
from orlop.build.containerfile.source import Source, Statement
from orlop.kit import files, limits
from orlop.kit.errors import LimitExceeded, NotFound

_KNOWN_SYNTAX = ("docker/dockerfile", "docker.io/docker/dockerfile")


def read(path: str, stdin: IO[bytes] | None = None) -> bytes:
    """The file's bytes; "-" is standard input. Raises NotFound, LimitExceeded (limits.CONTAINERFILE_SIZE)."""
    if path == "-":
        data = (stdin or sys.stdin.buffer).read(limits.CONTAINERFILE_SIZE + 1)
        if len(data) > limits.CONTAINERFILE_SIZE:
            raise LimitExceeded(
                "standard input",
                f"is longer than {limits.CONTAINERFILE_SIZE} bytes",
                hint="COPY what is large from files",
            )
        return data
    try:
        return files.read_bounded(path, limits.CONTAINERFILE_SIZE)
    except OSError as error:
        raise NotFound(
            path, f"cannot be read: {error.strerror}", hint="name the Containerfile with --file"
        ) from error


def parse(data: bytes, name: str) -> Containerfile:
    """The whole file, checked as far as it can be without values. Raises BadContainerfile, LimitExceeded."""
    source = Source(data, name)
    arguments: list[Arg] = []
    stages: list[tuple[From, list[Instruction]]] = []
    warnings = list(source.warnings)
    for statement in source.statements:
        found = instructions.instruction(statement, source.escape)
        warnings += _warnings(found, statement)
        if isinstance(found, From):
            stages.append((found, []))
        elif stages:
            stages[-1][1].append(found)
        elif isinstance(found, Arg):
            arguments.append(found)
        else:
            raise bad(
                found.place, f"{found.keyword} before the first FROM", "begin with FROM; only ARG may precede"
            )
    if not stages:
        hint = "begin with FROM IMAGE, or FROM scratch"
        raise BadContainerfile(name, "has no FROM" if source.statements else "is empty", hint=hint)
    warnings += _syntax(source, name)
    for _, body in stages:
        warnings += _repeated(body)
    return Containerfile(
        name,
        tuple(Stage(index, base, tuple(body)) for index, (base, body) in enumerate(stages)),
        tuple(arguments),
        source.escape,
        source.directives.get("syntax", ""),
        source.directives.get("check", ""),
        tuple(warnings),
    )


def trigger(expression: str, name: str, escape: str = "\\") -> Instruction:
    """The instruction of an ONBUILD that a base image carries (`name` is the image's, for errors)."""
    statements = Source(expression.encode(errors="surrogatepass"), name, escape).statements
    if len(statements) != 1:
        raise BadContainerfile(
            f"ONBUILD of {name}", f"is {len(statements)} instructions", hint="that image is badly built"
        )
    if statements[0].keyword.upper() in ("FROM", "ONBUILD", "MAINTAINER"):
        raise BadContainerfile(
            f"ONBUILD of {name}",
            f"{statements[0].keyword.upper()} cannot be a trigger",
            hint="that image is badly built",
        )
    return instructions.instruction(statements[0], escape)


def _warnings(found: Instruction, statement: Statement) -> list[Warned]:
    if isinstance(found, Maintainer):
        hint = f'write LABEL org.opencontainers.image.authors="{found.name}"'
        return [Warned(found.place, "MAINTAINER is deprecated", hint)]
    if isinstance(found, Env | Label) and "=" not in words.BLANKS.split(statement.rest, maxsplit=1)[0]:
        name, _ = found.pairs[0]
        cause = f"{found.keyword} {name} VALUE is the old form"
        return [Warned(found.place, cause, f"write {found.keyword} {name}=VALUE")]
    return []


def _syntax(source: Source, name: str) -> list[Warned]:
    syntax = source.directives.get("syntax", "").split("@")[0]
    if not syntax or syntax.rpartition(":")[0].removesuffix("-upstream") in _KNOWN_SYNTAX:
        return []
    if syntax.removesuffix("-upstream") in _KNOWN_SYNTAX:
        return []
    line = list(source.directives).index("syntax") + 1
    cause = f"the frontend {syntax} is not run; the file is read as a Containerfile"
    return [Warned(Place(name, line, line), cause, "leave `# syntax=` out")]


def _repeated(body: list[Instruction]) -> list[Warned]:
    """Only the last CMD, ENTRYPOINT and HEALTHCHECK of a stage counts."""
    found = []
    for kind in (Cmd, Entrypoint, Healthcheck):
        of_kind = [one for one in body if isinstance(one, kind)]
        for one in of_kind[:-1]:
            cause = f"this {one.keyword} has no effect, a later one in the stage replaces it"
            found.append(Warned(one.place, cause, "remove it"))
    return found
