"""An instruction's line: keyword, flags, and what follows as words, name=value pairs or JSON."""

from __future__ import annotations

import json
import re

from orlop.build.containerfile.errors import bad
from orlop.build.containerfile.lex import is_space, trim
from orlop.build.containerfile.model import Place

BLANKS = re.compile(r"[\t\v\f\r ]+")


class NotStrings(Exception):
    """A JSON array that holds something else than strings."""


def command(line: str, escape: str, place: Place | None) -> tuple[str, tuple[str, ...], str]:
    """Keyword, `--` flags (quotes and escapes taken away) and the rest."""
    keyword, *more = BLANKS.split(trim(line), maxsplit=1)
    if not more:
        return keyword, (), ""
    flags, rest = _flags(more[0], escape)
    return keyword, tuple(flags), trim(rest)


def _flags(line: str, escape: str) -> tuple[list[str], str]:
    flags: list[str] = []
    at = 0
    while True:
        while at < len(line) and is_space(line[at]):
            at += 1
        if not line.startswith("--", at):
            return flags, line[at:]
        word, at = _flag(line, at, escape)
        if word == "--":
            return flags, line[at:]
        flags.append(word)
        if at >= len(line):
            return flags, ""


def _flag(line: str, at: int, escape: str) -> tuple[str, int]:
    """One word from `at` on, and where it ends."""
    word: list[str] = []
    quote = ""
    while at < len(line):
        char = line[at]
        if not quote and is_space(char):
            break
        at += 1
        if char == quote:
            quote = ""
        elif not quote and char in "'\"":
            quote = char
        elif char == escape:
            word.append(line[at : at + 1])
            at += 1
        else:
            word.append(char)
    return "".join(word), min(at, len(line))


def pieces(text: str, escape: str) -> list[str]:
    """Words with their quotes and escapes still in them; blanks within quotes do not part them."""
    found: list[str] = []
    word: list[str] = []
    quote = ""
    is_word = False
    at = 0
    while at < len(text):
        char = text[at]
        at += 1
        if not quote and is_space(char):
            if is_word:
                found.append("".join(word))
            word, is_word = [], False
            continue
        if char == quote:
            quote = ""
        elif not quote and char in "'\"":
            quote = char
            is_word = True
        elif char == escape and quote != "'":
            if at == len(text):
                break
            word.append(char)
            char = text[at]
            at += 1
        word.append(char)
        is_word = True
    if is_word:
        found.append("".join(word))
    return found


def pairs(text: str, escape: str, place: Place, keyword: str) -> tuple[list[tuple[str, str]], bool]:
    """NAME=VALUE words, or the old form `NAME the rest` (then True)."""
    found = pieces(text, escape)
    if not found:
        raise bad(place, f"{keyword} without anything", f"write {keyword} NAME=VALUE")
    if "=" not in found[0]:
        name, *value = BLANKS.split(text, maxsplit=1)
        if not value:
            raise bad(place, f"{keyword} {name} has no value", f"write {keyword} {name}=VALUE")
        return [(name, value[0])], True
    result = []
    for word in found:
        name, equals, value_ = word.partition("=")
        if not equals:
            raise bad(
                place, f"{word!r} has no =", f'write {word}=VALUE, and quotes around blanks: NAME="a b"'
            )
        if not name:
            raise bad(place, f"{word!r} has no name", f"write {keyword} NAME=VALUE")
        result.append((name, value_))
    return result, False


def array(text: str) -> list[str] | None:
    """The strings of a JSON array; None where the text is no JSON array. Raises NotStrings."""
    if not text.startswith("["):
        return None
    try:
        values = json.loads(text, parse_constant=_refused)
    except (ValueError, RecursionError):
        return None
    if not isinstance(values, list):
        return None
    if not all(isinstance(value, str) for value in values):
        raise NotStrings
    return [value.encode("utf-16", "surrogatepass").decode("utf-16", "replace") for value in values]


def is_json(text: str) -> bool:
    try:
        return array(text) is not None
    except NotStrings:
        return True


def split(text: str) -> list[str]:
    """Words between blanks; quotes mean nothing."""
    return BLANKS.split(text) if text else []


def _refused(name: str) -> object:
    raise ValueError(name)
