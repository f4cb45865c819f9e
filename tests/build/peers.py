"""What BuildKit's parser and moby's pattern matcher say, and what ours says in the same words."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from orlop.build.containerfile import model
from orlop.build.containerfile.expand import word, words
from orlop.build.containerfile.lex import Lexer
from orlop.build.containerfile.parse import parse
from orlop.build.context.ignore import Ignore
from orlop.build.context.ignore import parse as patterns
from orlop.kit import process
from orlop.kit.errors import OrlopError
from tools.builds import local

#: What is an error here and accepted (without sense) there; each stands in docs/containerfile.md.
STRICTER = (
    "without a command", "with an empty array", "has no FROM", "is empty", "--mount", "--network=",
    "--security=", "a zero byte", "ONBUILD", "in a JSON array", "has no name", "without a path",
    "there is no instruction", "not UTF-8", "--retries=", "takes no flags", "has no flag", "HEALTHCHECK",
    "--from takes",
)  # fmt: skip


@functools.cache
def program() -> str:
    """Built from the module proxy the first time (a quarter of a minute)."""
    return str(local("containerfile", Path(__file__).parent / "peer"))


def ask(questions: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One answer for each question: {"error": ...} or what was asked for."""
    lines = "\n".join(json.dumps(question) for question in questions)
    done = process.run([program()], stdin=lines.encode(), timeout=120, output_limit=256 << 20)
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(found) == len(questions)
    return found


def ours_parsed(text: str) -> dict[str, Any]:
    try:
        found = parse(text.encode(), "Containerfile")
    except OrlopError as error:
        assert error.hint, error
        return {"error": str(error)}
    commands = [_described(one) for one in found.arguments]
    for stage in found.stages:
        commands.append(_described(stage.base))
        commands += [_described(one) for one in stage.instructions]
    return {"error": "", "commands": commands}


def _described(one: model.Instruction) -> dict[str, Any]:
    is_run = isinstance(one, model.Run)  # BuildKit leaves tabs and variables of these to the shell
    documents = [
        {
            "name": d.name,
            "data": d.raw if is_run else d.content,
            "expand": d.expand and not is_run,
            "chomp": d.chomp and is_run,
        }
        for d in getattr(one, "heredocs", ())
    ]
    return {
        "name": one.keyword,
        "words": _words(one),
        "shell": one.command.shell if isinstance(one, model.Run | model.Cmd | model.Entrypoint) else False,
        "documents": documents,
        "first": one.place.line,
        "last": one.place.last,
    }


def _words(one: model.Instruction) -> list[str]:  # noqa: C901  a line for each class
    match one:
        case model.From():
            return [one.image, one.name, one.platform]
        case model.Arg():
            return [
                part for name, value in one.pairs for part in (name, "(none)" if value is None else value)
            ]
        case model.Env() | model.Label():
            return [part for pair in one.pairs for part in pair]
        case model.Run() | model.Cmd() | model.Entrypoint():
            return list(one.command.words)
        case model.Copy():
            flags = [
                one.chown,
                one.chmod,
                _bool(one.link),
                one.from_,
                _bool(one.parents),
                ",".join(one.exclude),
            ]
            return [*flags, *one.sources, one.destination]
        case model.Add():
            flags = [one.chown, one.chmod, _bool(one.link), one.checksum, ",".join(one.exclude)]
            return [*flags, *one.sources, one.destination]
        case model.Healthcheck():
            times = (one.interval, one.timeout, one.start_period, one.start_interval, one.retries)
            return [" ".join(map(str, times)), *one.test]
        case model.Expose():
            return list(one.ports)
        case model.Volume():
            return list(one.paths)
        case model.Shell():
            return list(one.words)
        case model.User():
            return [one.user]
        case model.Workdir():
            return [one.path]
        case model.Stopsignal():
            return [one.signal]
        case model.Maintainer():
            return [one.name]
        case model.Onbuild():
            return [one.expression.strip()]
    raise AssertionError(one)


def _bool(value: bool) -> str:
    return "true" if value else "false"


def parse_differences(texts: Sequence[str]) -> list[str]:
    """What the two parsers do not agree on, with the text; without what is known and meant."""
    found = []
    for text, theirs in zip(texts, ask([{"kind": "parse", "text": text} for text in texts]), strict=True):
        ours = ours_parsed(text)
        if ours["error"] or theirs["error"]:
            known = any(cause in ours["error"] for cause in STRICTER)
            if bool(ours["error"]) != bool(theirs["error"]) and not known:
                found.append(
                    f"{text!r}\n  ours:   {ours['error'] or 'fine'}\n  theirs: {theirs['error'] or 'fine'}"
                )
            continue
        for one, other in zip(ours["commands"], theirs["commands"], strict=False):
            other = {**other, "words": other["words"] or [], "documents": other["documents"] or []}
            if other["name"] == "ONBUILD":  # blanks at its end mean nothing
                other["words"] = [other["words"][0].strip()]
            if one != other:
                found.append(f"{text!r}\n  ours:   {one}\n  theirs: {other}")
        if len(ours["commands"]) != len(theirs["commands"]):
            found.append(f"{text!r}: {len(ours['commands'])} and {len(theirs['commands'])} instructions")
    return found


def expand_differences(
    texts: Sequence[str], variables: Mapping[str, str], escape: str = "\\", *, quoteless: bool = False
) -> list[str]:
    env = [f"{name}={value}" for name, value in variables.items()]
    questions = [
        {"kind": "expand", "text": text, "env": env, "escape": escape, "quoteless": quoteless}
        for text in texts
    ]
    found = []
    for text, theirs in zip(texts, ask(questions), strict=True):
        try:
            if quoteless:
                ours: Any = (Lexer(text, variables, escape, quotes=False).run()[0], None)
            else:
                ours = (word(text, variables, escape), words(text, variables, escape))
        except OrlopError as error:
            ours = f"error: {error}"
        other = f"error: {theirs['error']}" if theirs["error"] else (theirs["word"], theirs["words"] or [])
        if isinstance(ours, str) and isinstance(other, str):
            continue
        if _is_meant(text, ours):
            continue
        same = ours[0] == other[0] and (quoteless or "${" in text or ours[1] == other[1])
        if not same:  # (their words lose what stands before a substitution with a word of its own)
            found.append(f"{text!r} with {variables}\n  ours:   {ours}\n  theirs: {other}")
    return found


def _is_meant(text: str, ours: Any) -> bool:
    """Differences that docs/containerfile.md names: `$` in what replaces a pattern means itself, and a bad
    escape in the pattern of a suffix (which theirs reads from behind) is an error."""
    if isinstance(ours, str):
        return "that no pattern has" in ours and "%" in text
    return "$" in ours[0] and bool(re.search(r"\$\{\w*/", text))


def ignore_differences(texts: Sequence[str], paths: Sequence[str]) -> list[str]:
    questions = [{"kind": "ignore", "text": text, "paths": list(paths)} for text in texts]
    answers = ask(questions)
    return [
        difference
        for text, theirs in zip(texts, answers, strict=True)
        for difference in _ignored(text, paths, theirs)
    ]


def _ignored(text: str, paths: Sequence[str], theirs: Mapping[str, Any]) -> list[str]:
    try:
        found = patterns(text.encode())
        ignore = Ignore(found)
        ours: Any = [ignore.excludes(path) for path in paths]
    except OrlopError as error:
        known = theirs["error"] or "not well formed" in str(error)  # theirs does not look behind every star
        return [] if known else [f"{text!r}\n  ours:   {error}\n  theirs: fine"]
    if theirs["error"]:
        return [f"{text!r}\n  ours:   fine\n  theirs: {theirs['error']}"]
    if found != (theirs["words"] or []):
        return [f"{text!r}\n  ours:   {found}\n  theirs: {theirs['words']}"]
    return [
        f"{text!r} for {path!r}: ours {one}, theirs {other}"
        for path, one, other in zip(paths, ours, theirs["excluded"] or [], strict=True)
        if one != other
    ]
