"""Variables and quotes, as the Dockerfile language has them: much like a shell's words, with its own corners.

`$a`, `${a}`, `:-` `-` `:+` `+` `:?` `?`, `#` `##` `%` `%%` (patterns of `*` and `?`), `/` `//`. Single quotes
keep all, double quotes keep all but `$`; the escape character is the file's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from orlop.kit import limits
from orlop.kit.errors import InvalidInput, LimitExceeded

_SPECIAL = frozenset("@*#?-$!0")
_MODIFIERS = frozenset("+-?#%")
_PLAIN_SPACE = frozenset("\t\n\v\f\r \x85\xa0")


def is_space(char: str) -> bool:
    """What Go's unicode.IsSpace calls one."""
    return char in _PLAIN_SPACE or (char > "\xff" and char.isspace())


def trim(text: str) -> str:
    """As strings.TrimSpace."""
    start, end = 0, len(text)
    while start < end and is_space(text[start]):
        start += 1
    while end > start and is_space(text[end - 1]):
        end -= 1
    return text[start:end]


class Lexer:
    """One text. `raw_quotes`, `raw_escapes`: they stay; `quotes` false: they mean nothing; `keep_unset`: a
    variable without a value stays as it is written."""

    def __init__(
        self,
        text: str,
        variables: Mapping[str, str],
        escape: str,
        *,
        quotes: bool = True,
        raw_quotes: bool = False,
        raw_escapes: bool = False,
        keep_unset: bool = False,
    ) -> None:
        self._text = text
        self._at = 0
        self._variables = variables
        self._escape = escape
        self._quotes = quotes
        self._raw_quotes = raw_quotes
        self._raw_escapes = raw_escapes
        self._keep_unset = keep_unset
        self._depth = 0

    def run(self) -> tuple[str, list[str]]:
        """The whole as one word, and as the words it falls into. Raises InvalidInput, LimitExceeded."""
        return self._until("", self._raw_escapes)

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _next(self) -> str:
        char = self._text[self._at : self._at + 1]
        self._at += 1 if char else 0
        return char

    def _until(self, stop: str, raw_escapes: bool) -> tuple[str, list[str]]:
        before, self._raw_escapes = self._raw_escapes, raw_escapes
        self._depth += 1
        if self._depth > limits.EXPANSION_DEPTH:
            raise LimitExceeded(
                _shown(self._text), "substitutions within substitutions without end", hint="write it simpler"
            )
        try:
            return self._parts(stop)
        finally:
            self._raw_escapes = before
            self._depth -= 1

    def _parts(self, stop: str) -> tuple[str, list[str]]:
        result: list[str] = []
        words = _Words()
        size = 0
        while char := self._peek():
            if char == stop:
                self._next()
                return "".join(result), words.finish()
            if char == "$":
                piece = self._dollar()
                words.split(piece)
            elif char == "<":
                piece = self._heredoc_mark()
                words.keep(piece)
            elif self._quotes and char in "'\"":
                piece = self._single() if char == "'" else self._double()
                words.keep(piece)
            elif char == self._escape:
                piece = self._escaped()
                words.keep(piece)
            else:
                piece = self._next()
                words.split(piece)
            result.append(piece)
            size += len(piece)
            if size > limits.EXPANDED_SIZE:
                raise LimitExceeded(
                    _shown(self._text),
                    f"expands to more than {limits.EXPANDED_SIZE} characters",
                    hint="see which variable grows",
                )
        if stop:
            raise self._bad(f"ends without its {stop!r}", f"add {stop!r}")
        return "".join(result), words.finish()

    def _escaped(self) -> str:
        mark = self._next() if self._raw_escapes else self._next()[:0]
        return mark + self._next()

    def _single(self) -> str:
        quote = self._next()
        end = self._text.find(quote, self._at)
        if end < 0:
            raise self._bad("has a single quote without its end", f"close it, or write {self._escape}'")
        inside = self._text[self._at : end]
        self._at = end + 1
        return f"'{inside}'" if self._raw_quotes else inside

    def _double(self) -> str:
        quote = self._next()
        result = [quote] if self._raw_quotes else []
        while char := self._peek():
            if char == '"':
                self._next()
                return "".join([*result, quote] if self._raw_quotes else result)
            if char == "$":
                result.append(self._dollar())
                continue
            self._next()
            if char == self._escape:
                if self._raw_escapes:
                    result.append(char)
                following = self._peek()
                if not following:
                    continue
                if following in ('"', "$", self._escape):
                    char = self._next()
            result.append(char)
        raise self._bad("has a double quote without its end", f'close it, or write {self._escape}"')

    def _heredoc_mark(self) -> str:
        """`<<` and the blanks behind it belong to the word that follows."""
        self._next()
        if self._peek() != "<":
            return "<"
        self._next()
        start = self._at
        while self._peek() and self._peek() in "\t\r ":
            self._next()
        return "<<" + self._text[start : self._at]

    # -- variables -------------------------------------------------------------------------------------

    def _dollar(self) -> str:
        self._next()
        if self._peek() != "{":
            name = self._name()
            if not name:
                return "$"
            value = self._variables.get(name)
            if value is None:
                return "$" + name if self._keep_unset else ""
            return value
        self._next()
        if self._peek() in ("", "{", "}", ":"):
            raise self._bad("has a bad substitution", "write ${name}, or escape the $")
        name = self._name()
        char = self._next()
        if char == "}":
            value = self._variables.get(name)
            if value is None:
                return f"${{{name}}}" if self._keep_unset else ""
            return value
        if char == "/":
            return self._replaced(name)
        return self._modified(name, char)

    def _modified(self, name: str, char: str) -> str:
        colon = char == ":"
        if colon:
            char = self._next()
        sign = ":" * colon + char
        if char not in _MODIFIERS or not char or (colon and char in "#%"):
            raise self._bad(
                f"has the modifier {sign!r}, which is not known", "use :- - :+ + :? ? # ## % %% / or //"
            )
        word, _ = self._until("}", raw_escapes=char in "#%")
        value = self._variables.get(name)
        if value is None and self._keep_unset:
            return f"${{{name}{sign}{word}}}"
        absent = value is None or (colon and not value)
        if char == "-":
            return word if absent else value or ""
        if char == "+":
            return "" if absent else word
        if char == "?":
            if absent:
                what = "unset" if value is None else "empty"
                raise InvalidInput(
                    f"variable {name}",
                    word or f"is not allowed to be {what}",
                    hint=f"give it: --build-arg {name}=VALUE",
                )
            return value or ""
        greedy = word.startswith(char)
        return self._trimmed(value or "", word[1:] if greedy else word, char == "%", greedy)

    def _replaced(self, name: str) -> str:
        every = self._peek() == "/"
        if every:
            self._next()
        pattern, _ = self._until("/", raw_escapes=True)
        replacement, _ = self._until("}", raw_escapes=True)
        value = self._variables.get(name)
        if value is None and self._keep_unset:
            return f"${{{name}/{pattern}/{replacement}}}"
        value = value or ""
        expression = _expression(self._tokens(pattern), greedy=True)
        self._bounded(value)
        found = re.compile(expression)
        if (len(value) + 1) * len(replacement) > limits.EXPANDED_SIZE:
            raise LimitExceeded(
                _shown(self._text), "would grow beyond all bounds", hint="use a shorter replacement"
            )
        end = -1

        def replaced(match: re.Match[str]) -> str:
            nonlocal end
            abuts = match.start() == match.end() == end  # nothing, right behind what was replaced
            end = match.end()
            return "" if abuts else replacement

        return found.sub(replaced, value, count=0 if every else 1)

    def _trimmed(self, value: str, pattern: str, is_suffix: bool, greedy: bool) -> str:
        tokens = self._tokens(pattern)
        self._bounded(value)
        if is_suffix:
            tokens, value = tokens[::-1], value[::-1]
        found = re.match(_expression(tokens, greedy=greedy), value)
        rest = value[found.end() :] if found else value
        return rest[::-1] if is_suffix else rest

    def _bounded(self, value: str) -> None:
        if len(value) > limits.EXPANSION_PATTERN:
            raise LimitExceeded(
                _shown(self._text),
                f"matches a value of {len(value)} characters",
                hint=f"patterns take values of {limits.EXPANSION_PATTERN} characters",
            )

    def _tokens(self, pattern: str) -> list[str]:
        """ "*", "?" and, with "=" before them, plain characters."""
        tokens = []
        characters = iter(range(len(pattern)))
        for at in characters:
            char = pattern[at]
            if char in "*?":
                tokens.append(char)
                continue
            if char == "\\":
                following = pattern[at + 1 : at + 2]
                if following in ("}", "/"):
                    continue
                if following not in ("*", "?", "\\") or not following:
                    raise self._bad(f"has an escape, \\{following}, that no pattern has", "escape * ? or \\")
                next(characters)
                char = following
            tokens.append("=" + char)
        return tokens

    def _name(self) -> str:
        first = self._peek()
        if not first:
            return ""
        start = self._at
        if first.isdecimal():
            while self._peek().isdecimal():
                self._next()
        elif first in _SPECIAL:
            self._next()
        else:
            while (char := self._peek()) and (char.isalpha() or char.isdecimal() or char == "_"):
                self._next()
        return self._text[start : self._at]

    def _bad(self, cause: str, hint: str) -> InvalidInput:
        return InvalidInput(_shown(self._text), cause, hint=hint)


class _Words:
    """Words that blanks end, unless they were quoted or escaped."""

    def __init__(self) -> None:
        self._done: list[str] = []
        self._parts: list[str] = []

    def keep(self, text: str) -> None:
        if text:
            self._parts.append(text)

    def split(self, text: str) -> None:
        for char in text:
            if not is_space(char):
                self._parts.append(char)
            elif self._parts:
                self._end()

    def finish(self) -> list[str]:
        if self._parts:
            self._end()
        return self._done

    def _end(self) -> None:
        self._done.append("".join(self._parts))
        self._parts.clear()


def _expression(tokens: list[str], *, greedy: bool) -> str:
    """A regular expression that matches the longest or the shortest, in time that stays linear: all stars but
    the last take the nearest match and never think again (atomic groups); what is found is the same."""
    segments: list[str] = [""]
    for token in tokens:
        if token == "*":  # noqa: S105  a pattern's star
            segments.append("")
        else:
            segments[-1] += "[^\\n]" if token == "?" else re.escape(token[1:])  # noqa: S105
    first, *others = segments
    if not others:
        return first
    *middle, last = others
    star = "[^\\n]*" if greedy else "[^\\n]*?"
    return first + "".join(f"(?>[^\\n]*?{segment})" for segment in middle) + star + last


def _shown(text: str) -> str:
    return repr(text if len(text) <= 120 else text[:117] + "...")
