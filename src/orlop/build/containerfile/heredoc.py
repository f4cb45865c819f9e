"""Here-documents of RUN, COPY and ADD: `<<NAME`, `<<-NAME`, `3<<"NAME"`."""

from __future__ import annotations

import re
from dataclasses import dataclass

from orlop.build.containerfile.lex import Lexer
from orlop.kit.errors import OrlopError

_WORD = re.compile(r"(?a:\d*)<<(-?)\s*([^<]*)\Z")
_TABS = re.compile(r"^\t+", re.MULTILINE)


@dataclass(frozen=True)
class Delimiter:
    """`expand` is false where a part of the word was quoted."""

    name: str
    expand: bool
    chomp: bool


def delimiter(word: str) -> Delimiter | None:
    """What `word` says as the start of a here-document, None where it is none that could be read."""
    found = _WORD.match(word)
    if found is None or not found.group(2):
        return None
    rest = found.group(2)
    try:
        plain = Lexer(rest, {}, "\\", keep_unset=True).run()[1]
        quoted = Lexer(rest, {}, "\\", keep_unset=True, raw_quotes=True).run()[1]
    except OrlopError:
        return None
    if len(plain) != 1:
        return None
    expand = len(quoted) == 1 and _quotes(plain[0]) == _quotes(quoted[0])
    return Delimiter(plain[0], expand, found.group(1) == "-")


def delimiters(line: str) -> list[Delimiter]:
    """The here-documents that a line begins, in order; a line that no shell could read begins none."""
    try:
        lexer = Lexer(line, {}, "\\", raw_quotes=True, raw_escapes=True, keep_unset=True)
        words = lexer.run()[1]
    except OrlopError:
        return []
    return [found for word in words if (found := delimiter(word)) is not None]


def chomped(text: str) -> str:
    """Without the tabs that lines begin with."""
    return _TABS.sub("", text)


def _quotes(text: str) -> int:
    return text.count("'") + text.count('"')
