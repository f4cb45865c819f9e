"""--chmod: octal (0755), or symbolic as chmod(1) has it (u=rwX,go=rX)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from orlop.kit.errors import InvalidInput

_OCTAL = re.compile(r"[0-7]{1,5}\Z")
_CLAUSE = re.compile(r"([ugoa]*)((?:[-+=](?:[ugo]|[rwxXst]*))+)\Z")
_ACTION = re.compile(r"([-+=])([ugo]|[rwxXst]*)")
_SHIFT = {"u": 6, "g": 3, "o": 0}
_BITS = {"r": 4, "w": 2, "x": 1}
_ALL = 0o7777


@dataclass(frozen=True)
class Mode:
    """`of(mode, is_folder)` gives the new permission bits."""

    octal: int | None
    clauses: tuple[tuple[str, tuple[tuple[str, str], ...]], ...] = ()

    def of(self, mode: int, *, is_folder: bool) -> int:
        if self.octal is not None:
            return self.octal
        mode &= _ALL
        for who, actions in self.clauses:
            for sign, what in actions:
                mode = _changed(mode, who, sign, what, is_folder=is_folder)
        return mode


def mode_of(chmod: str) -> Mode | None:
    """None for "". Raises InvalidInput."""
    if not chmod:
        return None
    if _OCTAL.match(chmod) and int(chmod, 8) <= _ALL:
        return Mode(int(chmod, 8))
    clauses = []
    for clause in chmod.split(","):
        found = _CLAUSE.match(clause)
        if found is None or len(chmod) > 200:
            raise InvalidInput(f"--chmod={chmod[:60]}", "is no mode", hint="write 0755 or u=rwX,go=rX")
        who = found.group(1) or "a"
        clauses.append(("ugo" if "a" in who else who, tuple(_ACTION.findall(found.group(2)))))
    return Mode(None, tuple(clauses))


def _changed(mode: int, who: str, sign: str, what: str, *, is_folder: bool) -> int:
    wanted = 0
    if what in _SHIFT and what:
        copied = mode >> _SHIFT[what] & 7
        wanted = sum(copied << _SHIFT[one] for one in set(who))
    else:
        for letter in what:
            wanted |= _letter(letter, mode, who, is_folder=is_folder)
    if sign == "+":
        return mode | wanted
    if sign == "-":
        return mode & ~wanted
    touched = sum(7 << _SHIFT[one] for one in set(who))
    special = (0o4000 if "u" in who else 0) | (0o2000 if "g" in who else 0)
    if is_folder and not set("st") & set(what):
        special = 0  # chmod(1): a folder's setuid and setgid stay unless they are named
    if "t" in what or set(who) == set("ugo"):
        special |= 0o1000
    return mode & ~(touched | special) | wanted


def _letter(letter: str, mode: int, who: str, *, is_folder: bool) -> int:
    if letter == "s":
        return (0o4000 if "u" in who else 0) | (0o2000 if "g" in who else 0)
    if letter == "t":
        return 0o1000
    if letter == "X":
        if not is_folder and not mode & 0o111:
            return 0
        letter = "x"
    return sum(_BITS[letter] << _SHIFT[one] for one in set(who))
