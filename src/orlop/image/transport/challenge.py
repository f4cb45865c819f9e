"""WWW-Authenticate: RFC 9110, section 11.6.1, as far as registries use it (Basic and Bearer)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

_TOKEN = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
_HEADER_LENGTH = 8192


@dataclass(frozen=True)
class Challenge:
    """What a registry asks for: `scheme` in lower case and its parameters, whose names are in lower case."""

    scheme: str
    parameters: Mapping[str, str]


def parse(headers: Iterable[str]) -> list[Challenge]:
    """All challenges of all header lines; what is malformed ends its line. Never raises."""
    found: list[Challenge] = []
    for header in headers:
        found.extend(_Scanner(header[:_HEADER_LENGTH]).challenges())
    return found


class _Scanner:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def challenges(self) -> list[Challenge]:
        found: list[tuple[str, dict[str, str]]] = []
        while True:
            self._skip(", \t")
            word = self._word()
            if not word:
                break
            self._skip(" \t")
            if found and self._peek() == "=":
                value = self._value()
                if value is None:
                    break
                found[-1][1].setdefault(word.lower(), value)
            else:
                found.append((word.lower(), {}))
        return [Challenge(scheme, parameters) for scheme, parameters in found]

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _skip(self, characters: str) -> None:
        while self._peek() and self._peek() in characters:
            self._at += 1

    def _word(self) -> str:
        begin = self._at
        while self._peek() in _TOKEN:
            self._at += 1
        return self._text[begin : self._at]

    def _value(self) -> str | None:
        """After `=`: a token or a quoted string; None where it does not end."""
        self._at += 1
        self._skip(" \t")
        if self._peek() != '"':
            return self._word()
        self._at += 1
        collected = ""
        while self._peek():
            character = self._peek()
            self._at += 1
            if character == '"':
                return collected
            if character == "\\":
                character = self._peek()
                self._at += 1
            collected += character
        return None
