"""From a file's bytes to logical lines: directives, comments, continuations, here-documents."""

from __future__ import annotations

import re
from dataclasses import dataclass

from orlop.build.containerfile import heredoc, words
from orlop.build.containerfile.errors import bad
from orlop.build.containerfile.lex import is_space, trim
from orlop.build.containerfile.model import Heredoc, Place, Warned
from orlop.kit import limits
from orlop.kit.errors import LimitExceeded

_DIRECTIVE = re.compile(r"#\s*([a-zA-Z][a-zA-Z0-9]*)\s*=\s*(.+?)\s*\Z")
_DIRECTIVES = ("syntax", "escape", "check")
_WITH_HEREDOCS = ("add", "copy", "run")
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Statement:
    """One instruction as it was found: `flags` are its `--` words, `rest` what follows them."""

    keyword: str
    flags: tuple[str, ...]
    rest: str
    heredocs: tuple[Heredoc, ...]
    place: Place
    text: str


class Source:
    """Reads the whole at once. Raises BadContainerfile, LimitExceeded."""

    def __init__(self, data: bytes, name: str, escape: str = "\\") -> None:
        self._name = name
        self._lines = _decoded(data, name)
        self._at = 0
        self._directives_over = False
        self.directives: dict[str, str] = {}
        self.warnings: list[Warned] = []
        self.statements: list[Statement] = []
        self._set_escape(escape)
        while self._at < len(self._lines):
            self._statement()

    def _set_escape(self, escape: str) -> None:
        self.escape = escape
        mark = re.escape(escape)
        self._continued = re.compile(rf"(?:(?<=[^{mark}])|\A){mark}[ \t]*\Z")

    def _statement(self) -> None:
        line = _left_trimmed(self._take())
        first = self._at
        self._directive(line)
        if line.startswith("#"):
            line = ""
        line, more = self._cut(line)
        if not more and not line:
            return
        parts = [line]
        blank = 0
        while more and self._at < len(self._lines):
            line = self._take()
            if _left_trimmed(line).startswith("#"):
                self._directive(line)
                continue
            self._directives_over = True
            if not trim(line):
                blank = self._at
                continue
            line, more = self._cut(line)
            parts.append(line)
        if blank:
            place = Place(self._name, blank, blank)
            self.warnings.append(
                Warned(place, "an empty line within an instruction", "remove it, or make it a comment")
            )
        self._add("".join(parts), first)

    def _add(self, text: str, first: int) -> None:
        place = Place(self._name, first, self._at)
        keyword, flags, rest = words.command(text, self.escape, place)
        heredocs = (
            tuple(self._heredocs(text, first)) if _may_have_heredocs(keyword, rest, self.escape) else ()
        )
        place = Place(self._name, first, self._at)
        self.statements.append(Statement(keyword, flags, rest, heredocs, place, trim(text)))
        if len(self.statements) > limits.CONTAINERFILE_INSTRUCTIONS:
            raise LimitExceeded(
                str(place),
                f"more than {limits.CONTAINERFILE_INSTRUCTIONS} instructions",
                hint="split it into several files",
            )

    def _heredocs(self, text: str, first: int) -> list[Heredoc]:
        if "<<" not in text:
            return []
        found = []
        for mark in heredoc.delimiters(text):
            lines = []
            while True:
                if self._at >= len(self._lines):
                    place = Place(self._name, first, self._at)
                    raise bad(
                        place,
                        f"the here-document <<{mark.name} has no end",
                        f"end it by a line that is {mark.name} and nothing else",
                    )
                line = self._lines[self._at]
                self._at += 1
                end = line.rstrip("\r\n")
                if (end.lstrip("\t") if mark.chomp else end) == mark.name:
                    break
                lines.append(line)
            raw = "".join(lines)
            content = heredoc.chomped(raw) if mark.chomp else raw
            found.append(Heredoc(mark.name, content, mark.expand, mark.chomp, raw))
        return found

    def _directive(self, line: str) -> None:
        """`# escape=X` and its like count on the first lines only."""
        if self._directives_over:
            return
        found = _DIRECTIVE.match(line)
        name = found.group(1).lower() if found else ""
        if found is None or name not in _DIRECTIVES:
            self._directives_over = True
            return
        place = Place(self._name, self._at, self._at)
        if name in self.directives:
            raise bad(place, f"a second `# {name}=`", "keep one of them")
        self.directives[name] = found.group(2)
        if name == "escape":
            if found.group(2) not in ("\\", "`"):
                raise bad(place, f"the escape character {found.group(2)!r}", "use \\ or `")
            self._set_escape(found.group(2))

    def _take(self) -> str:
        line = self._lines[self._at]
        self._at += 1
        return line.rstrip("\r\n")

    def _cut(self, line: str) -> tuple[str, bool]:
        """The line without a continuation mark, and whether it had one."""
        found = self._continued.search(line)
        return (line[: found.start()], True) if found else (line, False)


def _may_have_heredocs(keyword: str, rest: str, escape: str) -> bool:
    name = keyword.lower()
    if name == "onbuild" and rest:
        name, _, rest = words.command(rest, escape, None)
        name = name.lower()
    return name in _WITH_HEREDOCS and not words.is_json(rest)


def _left_trimmed(line: str) -> str:
    at = 0
    while at < len(line) and is_space(line[at]):
        at += 1
    return line[at:]


def _decoded(data: bytes, name: str) -> list[str]:
    """The lines with their ends. Comments may be in any encoding, the rest is UTF-8 without zero bytes."""
    if len(data) > limits.CONTAINERFILE_SIZE:
        raise LimitExceeded(
            name, f"is longer than {limits.CONTAINERFILE_SIZE} bytes", hint="COPY what is large from files"
        )
    lines = []
    pieces = data.removeprefix(_BOM).split(b"\n")
    for number, piece in enumerate(pieces, 1):
        whole = piece + b"\n" if number < len(pieces) else piece
        if not whole:
            continue
        if b"\0" in whole:
            raise bad(Place(name, number, number), "a zero byte", "is it a text file?")
        try:
            lines.append(whole.decode())
        except UnicodeDecodeError:
            if not whole.lstrip().startswith(b"#"):
                place = Place(name, number, number)
                raise bad(place, "a line that is not UTF-8", "save the file as UTF-8") from None
            lines.append(whole.decode(errors="replace"))
    return lines
