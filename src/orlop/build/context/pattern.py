"""One pattern of an ignore file: `*`, `?`, `[a-z]` as Go's filepath.Match, and `**` as moby matches it.

A pattern becomes tokens. Patterns with at most two stars become regular expressions; others, whose
backtracking could take for ever, are followed state by state in linear time. Both say the same.
"""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass

from orlop.kit import limits
from orlop.kit.errors import InvalidInput

_FEW_STARS = 2


@dataclass(frozen=True)
class Token:
    """`kind`: char, one (`?`), set, star (no slash), deep (`**`: nothing, or anything up to a slash), all
    (`**` at the end: anything)."""

    kind: str
    char: str = ""
    ranges: tuple[tuple[str, str], ...] = ()
    negated: bool = False

    def takes(self, char: str) -> bool:
        if self.kind == "char":
            return char == self.char
        if self.kind == "one":
            return char != "/"
        return any(low <= char <= high for low, high in self.ranges) != self.negated

    def expression(self) -> str:
        if self.kind == "char":
            return re.escape(self.char)
        if self.kind == "set":
            inside = "".join(
                f"{re.escape(low)}-{re.escape(high)}" for low, high in self.ranges if low <= high
            )
            if not inside:
                return "(?s:.)" if self.negated else "(?!)"
            return f"[{'^' if self.negated else ''}{inside}]"
        return {"one": "[^/]", "star": "[^/]*", "deep": "(?:.*/)?", "all": ".*"}[self.kind]


class Pattern:
    """`matches` says whether a relative path is meant, itself (not what lies above it)."""

    def __init__(self, text: str, subject: str = "pattern", *, deep: bool = True) -> None:
        """`deep` false: `**` is `*`, as in filepath.Match itself. Raises InvalidInput."""
        if len(text) > limits.PATH_LENGTH:
            raise InvalidInput(subject, "a pattern longer than any path", hint="shorten it")
        self.text = text
        self._tokens = _Reader(text, subject, deep=deep).run()
        kinds = [token.kind for token in self._tokens]
        self._suffix: str | None = None
        self._prefix: str | None = None
        self._plain: str | None = None
        self._regex: re.Pattern[str] | None = None
        plain = "".join(token.char for token in self._tokens)
        if all(kind == "char" for kind in kinds):
            self._plain = plain
        elif kinds == ["all"]:
            self._prefix = ""
        elif kinds[0] == "deep" and set(kinds[1:]) == {"char"}:
            # moby's quirk: `**x` and `**/x` are suffixes; the slash, where it was written, is part of it.
            self._suffix = text[2:] if "\\" not in text else None
        elif kinds[-1] == "all" and set(kinds[:-1]) == {"char"}:
            self._prefix = plain
        if self._suffix is None and self._prefix is None and self._plain is None:
            stars = sum(kind in ("star", "deep", "all") for kind in kinds)
            if stars <= _FEW_STARS:
                self._regex = re.compile(
                    "".join(token.expression() for token in self._tokens) + r"\Z", re.DOTALL
                )

    def matches(self, path: str) -> bool:
        if self._plain is not None:
            return path == self._plain
        if self._prefix is not None:
            return path.startswith(self._prefix)
        if self._suffix is not None:
            suffix = self._suffix
            return path.endswith(suffix) or (suffix.startswith("/") and path == suffix[1:])
        if self._regex is not None:
            return self._regex.match(path) is not None
        return self.followed(path)

    def followed(self, path: str) -> bool:
        """The same by sets of states. A state is a token that comes next; "within" it, for `**`, only a slash
        leads on."""
        states, within = self._reached({0}), set[int]()
        for char in path:
            following: set[int] = set()
            still = set(within)
            for at in states:
                if at == len(self._tokens):
                    continue
                token = self._tokens[at]
                if token.kind == "deep":
                    still.add(at)
                elif token.kind == "all" or (token.kind == "star" and char != "/"):
                    following.add(at)
                elif token.kind != "star" and token.takes(char):
                    following.add(at + 1)
            if char == "/":
                following |= {at + 1 for at in still}
            states, within = self._reached(following), still
        return len(self._tokens) in states

    def _reached(self, states: set[int]) -> set[int]:
        """With what is reached without a character."""
        pending, found = list(states), set(states)
        while pending:
            at = pending.pop()
            if (
                at < len(self._tokens)
                and self._tokens[at].kind in ("star", "deep", "all")
                and at + 1 not in found
            ):
                found.add(at + 1)
                pending.append(at + 1)
        return found


class _Reader:
    def __init__(self, text: str, subject: str, *, deep: bool) -> None:
        self._text = text
        self._subject = subject
        self._deep = deep
        self._at = 0

    def run(self) -> list[Token]:
        tokens: list[Token] = []
        while self._at < len(self._text):
            char = self._take()
            if char == "*":
                tokens.append(self._star())
            elif char == "?":
                tokens.append(Token("one"))
            elif char == "[":
                tokens.append(self._set())
            elif char == "\\":
                tokens.append(Token("char", self._take()))
            else:
                tokens.append(Token("char", char))
        return tokens

    def _star(self) -> Token:
        if self._peek() != "*" or not self._deep:
            return Token("star")
        self._take()
        if self._peek() == "/":
            self._take()
        return Token("deep" if self._peek() else "all")

    def _set(self) -> Token:
        negated = self._peek() == "^"
        if negated:
            self._take()
        ranges: list[tuple[str, str]] = []
        while not (self._peek() == "]" and ranges):
            low = self._bound()
            high = low
            if self._peek() == "-":
                self._take()
                high = self._bound()
            ranges.append((low, high))
        self._take()
        return Token("set", "", tuple(ranges), negated)

    def _bound(self) -> str:
        char = self._take()
        if char in "-]":
            raise self._bad()
        return self._take() if char == "\\" else char

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _take(self) -> str:
        char = self._peek()
        if not char:
            raise self._bad()
        self._at += 1
        return char

    def _bad(self) -> InvalidInput:
        return InvalidInput(
            self._subject,
            f"the pattern {self._text[:100]!r} is not well formed",
            hint="see filepath.Match of Go",
        )


def clean(text: str) -> str:
    """As Go's filepath.Clean."""
    done = posixpath.normpath(text)
    return done[1:] if done.startswith("//") else done
