"""Variables in the instructions where the language replaces them: docs/containerfile.md has the table."""

from __future__ import annotations

import dataclasses
import re
import signal
from collections.abc import Callable, Mapping
from typing import TypeVar, cast

from orlop.build.containerfile import mounts
from orlop.build.containerfile.errors import BadContainerfile, bad
from orlop.build.containerfile.lex import Lexer
from orlop.build.containerfile.model import (
    Add,
    Copy,
    Env,
    Expose,
    From,
    Heredoc,
    Instruction,
    Label,
    Run,
    Stopsignal,
    User,
    Volume,
    Workdir,
)  # fmt: skip
from orlop.kit import limits
from orlop.kit.errors import InvalidInput, LimitExceeded

Some = TypeVar("Some", bound=Instruction)
Word = Callable[[str], str]

_PORTS = re.compile(r"(?a:(\d{1,5})(?:-(\d{1,5}))?)\Z")
_PORT_MAX = 65535
_PROTOCOLS = ("tcp", "udp", "sctp")
_SIGNAL_MAX = 64


def word(text: str, variables: Mapping[str, str], escape: str = "\\") -> str:
    """`text` with variables replaced and quotes taken away, as one word. InvalidInput, LimitExceeded."""
    return Lexer(text, variables, escape).run()[0]


def words(text: str, variables: Mapping[str, str], escape: str = "\\") -> list[str]:
    """The same, split into words afterwards where no quotes hold it together."""
    return Lexer(text, variables, escape).run()[1]


def expanded(instruction: Some, variables: Mapping[str, str], escape: str = "\\") -> Some:
    """The instruction with final values: what the language says is expanded in it is, the rest stays.

    RUN: only --mount options (`mounts` are made here). ENV, LABEL: all values see `variables` as they are
    before the instruction. CMD, ENTRYPOINT, SHELL, HEALTHCHECK, ONBUILD, MAINTAINER: unchanged.
    FROM: give it `scope.globals_of`. ARG: use `Scope.arg`, which expands by itself. Raises BadContainerfile
    with the line, LimitExceeded.
    """
    change = _CHANGES.get(type(instruction))
    if change is None:
        return instruction
    place = instruction.place
    with_lines = _Located(instruction, variables, escape)
    result = cast(Some, change(instruction, with_lines))
    size = sum(len(part) for part in _texts(result))
    if size > 2 * limits.EXPANDED_SIZE:
        raise LimitExceeded(
            str(place), f"expands to {size} characters", hint="see which variable grows from line to line"
        )
    return result


class _Located:
    """Expansion whose errors name the instruction's line."""

    def __init__(self, instruction: Instruction, variables: Mapping[str, str], escape: str) -> None:
        self.variables = variables
        self.escape = escape
        self._instruction = instruction

    def word(self, text: str) -> str:
        return cast(str, self._guarded(word, text))

    def words(self, text: str) -> list[str]:
        return cast("list[str]", self._guarded(words, text))

    def document(self, document: Heredoc) -> Heredoc:
        """Quotes mean nothing in a here-document, and the escape character is always a backslash."""
        if not document.expand:
            return document

        def content(text: str, variables: Mapping[str, str], _: str) -> str:
            return Lexer(text, variables, "\\", quotes=False).run()[0]

        return dataclasses.replace(document, content=cast(str, self._guarded(content, document.content)))

    def _guarded(self, function: Callable[[str, Mapping[str, str], str], object], text: str) -> object:
        try:
            return function(text, self.variables, self.escape)
        except LimitExceeded:
            raise
        except InvalidInput as error:
            where = f"{self._instruction.keyword}: {error.subject} {error.cause}"
            raise BadContainerfile(str(self._instruction.place), where, hint=error.hint) from error


def _texts(instruction: Instruction) -> list[str]:
    found: list[str] = []
    for field in dataclasses.fields(instruction):
        value = getattr(instruction, field.name)
        pending = [value] if field.name not in ("place", "text") else []
        while pending:
            one = pending.pop()
            if isinstance(one, str):
                found.append(one)
            elif isinstance(one, tuple):
                pending.extend(one)
            elif isinstance(one, Heredoc):
                found.append(one.content)
    return found


def _from(found: From, do: _Located) -> From:
    image, platform = do.word(found.image), do.word(found.platform)
    if not image:
        raise bad(
            found.place,
            f"FROM {found.image} names no image",
            "give the ARG a default before the first FROM, or a value with --build-arg",
        )
    return dataclasses.replace(found, image=image, platform=platform)


def _run(found: Run, do: _Located) -> Run:
    made = tuple(mounts.parse(option, found.place, do.word) for option in found.mount_options)
    return dataclasses.replace(found, mounts=made)


def _copy(found: Copy, do: _Located) -> Copy:
    return dataclasses.replace(
        found,
        sources=tuple(do.word(source) for source in found.sources),
        destination=do.word(found.destination),
        heredocs=tuple(do.document(document) for document in found.heredocs),
        chown=do.word(found.chown),
        chmod=do.word(found.chmod),
    )


def _add(found: Add, do: _Located) -> Add:
    return dataclasses.replace(
        found,
        sources=tuple(do.word(source) for source in found.sources),
        destination=do.word(found.destination),
        heredocs=tuple(do.document(document) for document in found.heredocs),
        chown=do.word(found.chown),
        chmod=do.word(found.chmod),
        checksum=do.word(found.checksum),
    )


def _pairs(found: Env | Label, do: _Located) -> Env | Label:
    pairs = tuple((do.word(name), do.word(value)) for name, value in found.pairs)
    for name, _ in pairs:
        if not name or (isinstance(found, Env) and "=" in name):
            raise bad(found.place, f"{found.keyword} with the name {name!r}", "give it a name without =")
    return dataclasses.replace(found, pairs=pairs)


def _user(found: User, do: _Located) -> User:
    user = do.word(found.user)
    if not user:
        raise bad(found.place, f"USER {found.user} names nobody", "give the variable a value")
    return dataclasses.replace(found, user=user)


def _workdir(found: Workdir, do: _Located) -> Workdir:
    return dataclasses.replace(found, path=do.word(found.path))


def _volume(found: Volume, do: _Located) -> Volume:
    paths = tuple(do.word(path) for path in found.paths)
    if not all(paths):
        raise bad(found.place, "VOLUME with an empty path", "give the variable a value")
    return dataclasses.replace(found, paths=paths)


def _stopsignal(found: Stopsignal, do: _Located) -> Stopsignal:
    name = do.word(found.signal)
    if not _is_signal(name):
        raise bad(found.place, f"STOPSIGNAL {name}", "write a signal's name or number, SIGTERM for example")
    return dataclasses.replace(found, signal=name)


def _is_signal(name: str) -> bool:
    if name.isascii() and name.isdigit() and len(name) < 4:
        return 0 < int(name) <= _SIGNAL_MAX
    bare = name.upper().removeprefix("SIG")
    if re.fullmatch(r"RTM(IN\+|AX-)(?a:\d{1,2})", bare):
        return True
    return f"SIG{bare}" in signal.Signals.__members__ and name.isascii()


def _expose(found: Expose, do: _Located) -> Expose:
    ports: set[tuple[int, str]] = set()
    for port in found.ports:
        for one in do.words(port):
            ports |= _port(one, found)
    if not ports:
        raise bad(found.place, "EXPOSE without a port", "give the variable a value")
    return dataclasses.replace(found, ports=tuple(f"{port}/{protocol}" for port, protocol in sorted(ports)))


def _port(text: str, found: Expose) -> set[tuple[int, str]]:
    """[IP:][HOST:]PORT[-PORT][/PROTOCOL]; only the container's side counts."""
    spec, _, protocol = text.partition("/")
    match = _PORTS.match(spec.rpartition(":")[2])
    protocol = protocol.lower() or "tcp"
    if match and protocol in _PROTOCOLS:
        first, last = int(match.group(1)), int(match.group(2) or match.group(1))
        if first <= last <= _PORT_MAX:
            return {(port, protocol) for port in range(first, last + 1)}
    raise bad(found.place, f"EXPOSE {text[:60]}", "write PORT, PORT-PORT or PORT/udp, from 0 to 65535")


_CHANGES: dict[type[Instruction], Callable[..., Instruction]] = {
    From: _from,
    Run: _run,
    Copy: _copy,
    Add: _add,
    Env: _pairs,
    Label: _pairs,
    User: _user,
    Workdir: _workdir,
    Volume: _volume,
    Stopsignal: _stopsignal,
    Expose: _expose,
}
