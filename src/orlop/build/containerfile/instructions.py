"""From a statement to the value of its instruction."""

from __future__ import annotations

import re
from collections.abc import Callable

from orlop.build.containerfile import durations, heredoc, mounts, words
from orlop.build.containerfile.errors import BadContainerfile, bad
from orlop.build.containerfile.flags import LIST, SWITCH, TEXT, Flags, meant
from orlop.build.containerfile.lex import trim
from orlop.build.containerfile.model import (
    Add,
    Arg,
    Cmd,
    Command,
    Copy,
    Entrypoint,
    Env,
    Expose,
    From,
    Healthcheck,
    Heredoc,
    Instruction,
    Label,
    Maintainer,
    Onbuild,
    Run,
    Shell,
    Stopsignal,
    User,
    Volume,
    Workdir,
)  # fmt: skip
from orlop.build.containerfile.source import Statement

_STAGE = re.compile(r"[a-z][a-z0-9_.-]*\Z")
_MILLISECOND = 10**6
_NOT_STRINGS = "has a JSON array with something else than strings"
_ONBUILD = re.compile(r"\s*ONBUILD\s*", re.IGNORECASE)
_LARGEST_COUNT = 2**31 - 1


def instruction(statement: Statement, escape: str) -> Instruction:
    """Raises BadContainerfile."""
    name = statement.keyword.upper()
    make = _MAKERS.get(name)
    if make is None:
        hint = meant(name, _MAKERS) or f"the instructions are {', '.join(_MAKERS)}"
        raise bad(statement.place, f"there is no instruction {statement.keyword[:60]!r}", hint)
    try:
        return make(statement, escape)
    except words.NotStrings:
        raise bad(statement.place, f"{name} {_NOT_STRINGS}", 'quote each element: ["a", "1"]') from None


def _flags(statement: Statement, **known: str) -> Flags:
    names = {name.replace("_", "-"): kind for name, kind in known.items()}
    return Flags(statement.flags, names, statement.keyword.upper(), statement.place)


def _one(statement: Statement, what: str) -> str:
    _flags(statement)
    if not statement.rest:
        keyword = statement.keyword.upper()
        raise bad(statement.place, f"{keyword} without anything", f"write {keyword} {what}")
    return statement.rest


def _from(statement: Statement, _: str) -> From:
    flags = _flags(statement, platform=TEXT)
    found = words.split(statement.rest)
    name = ""
    if len(found) == 3 and found[1].lower() == "as":
        name = found[2].lower()
        if not _STAGE.match(name):
            raise bad(
                statement.place,
                f"the stage's name {found[2]!r}",
                "begin with a letter; then letters, digits, - _ and .",
            )
    elif len(found) != 1:
        raise bad(statement.place, "FROM takes one image", "write FROM IMAGE, or FROM IMAGE AS NAME")
    return From(statement.place, statement.text, found[0], name, flags.text("platform"))


def _command(statement: Statement, rest: str, *, may_be_empty: bool) -> Command:
    """JSON or shell form. `[]` is what takes an inherited command away."""
    keyword = statement.keyword.upper()
    found = words.array(rest)
    if found is None:
        if not rest:
            hint = f"write {keyword} COMMAND" + (f", or {keyword} [] for none" if may_be_empty else "")
            raise bad(statement.place, f"{keyword} without a command", hint)
        return Command((rest,), shell=True)  # noqa: S604  a value, nothing runs here
    if not found and not may_be_empty:
        raise bad(
            statement.place, f"{keyword} with an empty array", f'write {keyword} ["program", "argument"]'
        )
    for word in found:
        if "\0" in word:
            raise bad(statement.place, "a zero byte in an argument", "leave it out")
    return Command(tuple(found), shell=False)


def _run(statement: Statement, _: str) -> Run:
    flags = _flags(statement, mount=LIST, network=TEXT, security=TEXT)
    network, security = flags.text("network") or "default", flags.text("security") or "sandbox"
    if network not in ("default", "none", "host"):
        raise bad(statement.place, f"--network={network}", "write default, none or host")
    if security not in ("sandbox", "insecure"):
        raise bad(statement.place, f"--security={security}", "write sandbox or insecure")
    for option in flags.list("mount"):
        mounts.check(option, statement.place)
    command = _command(statement, statement.rest, may_be_empty=False)
    return Run(
        statement.place,
        statement.text,
        command,
        statement.heredocs,
        flags.list("mount"),
        network=network,
        security=security,
    )


def _sources(statement: Statement) -> tuple[tuple[str, ...], str, tuple[Heredoc, ...]]:
    keyword = statement.keyword.upper()
    found = words.array(statement.rest)
    if found is None:
        found = words.split(statement.rest)
    if len(found) < 2:
        raise bad(
            statement.place,
            f"{keyword} needs a source and a destination",
            f"write {keyword} SOURCE... TARGET",
        )
    *sources, destination = found
    if heredoc.delimiter(destination) is not None:
        raise bad(statement.place, "a here-document as the destination", f"write {keyword} <<NAME PATH")
    documents = {document.name: document for document in statement.heredocs}
    paths: list[str] = []
    inline: list[Heredoc] = []
    for source in sources:
        mark = heredoc.delimiter(source)
        if mark is None:
            paths.append(source)
            continue
        document = documents.get(mark.name)
        if document is None:
            raise bad(statement.place, f"{source} in a JSON array", "here-documents need the plain form")
        inline.append(document)
    return tuple(paths), destination, tuple(inline)


def _copy(statement: Statement, _: str) -> Copy:
    flags = _flags(
        statement, chown=TEXT, chmod=TEXT, link=SWITCH, exclude=LIST, parents=SWITCH, **{"from": TEXT}
    )
    if "$" in flags.text("from"):
        hint = "name a stage: FROM $IMAGE AS NAME, then --from=NAME"
        raise bad(statement.place, "COPY --from takes no variables", hint)
    paths, destination, inline = _sources(statement)
    return Copy(
        statement.place,
        statement.text,
        paths,
        destination,
        inline,
        from_=flags.text("from"),
        chown=flags.text("chown"),
        chmod=flags.text("chmod"),
        link=flags.switch("link"),
        parents=flags.switch("parents"),
        exclude=flags.list("exclude"),
    )


def _add(statement: Statement, _: str) -> Add:
    flags = _flags(
        statement, chown=TEXT, chmod=TEXT, link=SWITCH, exclude=LIST, checksum=TEXT, keep_git_dir=SWITCH,
        unpack=SWITCH,
    )  # fmt: skip
    paths, destination, inline = _sources(statement)
    return Add(
        statement.place,
        statement.text,
        paths,
        destination,
        inline,
        chown=flags.text("chown"),
        chmod=flags.text("chmod"),
        link=flags.switch("link"),
        exclude=flags.list("exclude"),
        checksum=flags.text("checksum"),
        keep_git_dir=flags.maybe("keep-git-dir"),
        unpack=flags.maybe("unpack"),
    )


def _arg(statement: Statement, escape: str) -> Arg:
    _flags(statement)
    found = words.pieces(statement.rest, escape)
    if not found:
        raise bad(statement.place, "ARG without a name", "write ARG NAME, or ARG NAME=DEFAULT")
    pairs: list[tuple[str, str | None]] = []
    for word in found:
        name, equals, value = word.partition("=")
        if not name:
            raise bad(statement.place, f"{word!r} has no name", "write ARG NAME=DEFAULT")
        pairs.append((name, value if equals else None))
    return Arg(statement.place, statement.text, tuple(pairs))


def _env(statement: Statement, escape: str) -> Env:
    _flags(statement)
    pairs, _ = words.pairs(statement.rest, escape, statement.place, "ENV")
    return Env(statement.place, statement.text, tuple(pairs))


def _label(statement: Statement, escape: str) -> Label:
    _flags(statement)
    pairs, _ = words.pairs(statement.rest, escape, statement.place, "LABEL")
    return Label(statement.place, statement.text, tuple(pairs))


def _user(statement: Statement, _: str) -> User:
    return User(statement.place, statement.text, _one(statement, "NAME[:GROUP]"))


def _workdir(statement: Statement, _: str) -> Workdir:
    return Workdir(statement.place, statement.text, _one(statement, "PATH"))


def _stopsignal(statement: Statement, _: str) -> Stopsignal:
    return Stopsignal(statement.place, statement.text, _one(statement, "SIGNAL"))


def _maintainer(statement: Statement, _: str) -> Maintainer:
    return Maintainer(statement.place, statement.text, _one(statement, "NAME"))


def _volume(statement: Statement, _: str) -> Volume:
    _flags(statement)
    found = words.array(statement.rest)
    if found is None:
        found = words.split(statement.rest)
    if not found or not all(trim(path) for path in found):
        raise bad(statement.place, "VOLUME without a path", 'write VOLUME /PATH..., or VOLUME ["/PATH"]')
    return Volume(statement.place, statement.text, tuple(trim(path) for path in found))


def _expose(statement: Statement, _: str) -> Expose:
    _one(statement, "PORT[/PROTOCOL]...")
    return Expose(statement.place, statement.text, tuple(sorted(words.split(statement.rest))))


def _entrypoint(statement: Statement, _: str) -> Entrypoint:
    _flags(statement)
    command = _command(statement, statement.rest, may_be_empty=True)
    return Entrypoint(statement.place, statement.text, command)


def _cmd(statement: Statement, _: str) -> Cmd:
    _flags(statement)
    return Cmd(statement.place, statement.text, _command(statement, statement.rest, may_be_empty=True))


def _shell(statement: Statement, _: str) -> Shell:
    _flags(statement)
    found = words.array(statement.rest)
    if not found:
        raise bad(statement.place, "SHELL wants a JSON array", 'write SHELL ["/bin/bash", "-c"]')
    return Shell(statement.place, statement.text, tuple(found))


def _healthcheck(statement: Statement, _: str) -> Healthcheck:
    kind, *rest = words.BLANKS.split(statement.rest, maxsplit=1)
    what = kind.upper()
    if what == "NONE":
        if rest or statement.flags:
            raise bad(statement.place, "HEALTHCHECK NONE takes nothing else", "write HEALTHCHECK NONE")
        return Healthcheck(statement.place, statement.text, ("NONE",))
    flags = _flags(
        statement, interval=TEXT, timeout=TEXT, start_period=TEXT, start_interval=TEXT, retries=TEXT
    )
    if what != "CMD":
        raise bad(
            statement.place, f"HEALTHCHECK {kind}", "write HEALTHCHECK CMD COMMAND, or HEALTHCHECK NONE"
        )
    command = _command(statement, trim(rest[0]) if rest else "", may_be_empty=False)
    test = ("CMD-SHELL" if command.shell else "CMD", *command.words)
    times = {
        name: _time(flags, name.replace("_", "-"), statement)
        for name in ("interval", "timeout", "start_period", "start_interval")
    }
    retries = flags.text("retries")
    if retries and not (re.fullmatch(r"(?a:\+?\d{1,10})", retries) and int(retries) <= _LARGEST_COUNT):
        raise bad(statement.place, f"--retries={retries}", "give a number from 0 up")
    return Healthcheck(statement.place, statement.text, test, retries=int(retries or 0), **times)


def _time(flags: Flags, name: str, statement: Statement) -> int:
    text = flags.text(name)
    if not text:
        return 0
    value = durations.nanoseconds(text)
    if value is None or (value and value < _MILLISECOND):
        raise bad(
            statement.place, f"--{name}={text}", "give a time with its unit, at least 1ms: 30s, 1m30s, 500ms"
        )
    return value


def _onbuild(statement: Statement, escape: str) -> Onbuild:
    _flags(statement)
    if not statement.rest:
        raise bad(statement.place, "ONBUILD without an instruction", "write ONBUILD RUN ... for example")
    keyword, flags, rest = words.command(statement.rest, escape, statement.place)
    if keyword.upper() == "ONBUILD":
        raise bad(statement.place, "ONBUILD within ONBUILD", "one level is all that there is")
    if keyword.upper() in ("FROM", "MAINTAINER"):
        raise bad(statement.place, f"ONBUILD {keyword.upper()}", "that instruction cannot be a trigger")
    inner = Statement(keyword, flags, rest, statement.heredocs, statement.place, statement.rest)
    try:  # what is wrong is said now, not to who builds on it
        instruction(inner, escape)
    except BadContainerfile as error:
        raise bad(statement.place, f"ONBUILD: {error.cause}", error.hint) from error
    expression = _ONBUILD.sub("", statement.text, count=1)
    expression += "".join("\n" + document.raw + document.name for document in statement.heredocs)
    return Onbuild(statement.place, statement.text, expression)


_MAKERS: dict[str, Callable[[Statement, str], Instruction]] = {
    "FROM": _from,
    "RUN": _run,
    "COPY": _copy,
    "ADD": _add,
    "ARG": _arg,
    "ENV": _env,
    "LABEL": _label,
    "USER": _user,
    "WORKDIR": _workdir,
    "VOLUME": _volume,
    "EXPOSE": _expose,
    "ENTRYPOINT": _entrypoint,
    "CMD": _cmd,
    "SHELL": _shell,
    "STOPSIGNAL": _stopsignal,
    "HEALTHCHECK": _healthcheck,
    "ONBUILD": _onbuild,
    "MAINTAINER": _maintainer,
}
