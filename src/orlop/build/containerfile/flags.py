"""The `--` words of an instruction, against those that it knows."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping

from orlop.build.containerfile.errors import bad
from orlop.build.containerfile.model import Place

TEXT, LIST, SWITCH = "text", "list", "switch"


class Flags:
    """`known`: name -> TEXT, LIST (may be repeated) or SWITCH. Raises BadContainerfile."""

    def __init__(self, words: tuple[str, ...], known: Mapping[str, str], keyword: str, place: Place) -> None:
        self._texts: dict[str, str] = {}
        self._lists: dict[str, list[str]] = {}
        self._switches: dict[str, bool] = {}
        for word in words:
            name, equals, value = word[2:].partition("=")
            kind = known.get(name)
            if kind is None:
                raise bad(
                    place,
                    f"{keyword} has no flag --{name}",
                    meant(name, known, "--") or _offered(keyword, known),
                )
            if kind != LIST and (name in self._texts or name in self._switches):
                raise bad(place, f"{keyword} has --{name} twice", "keep one of them")
            if kind == SWITCH:
                self._switches[name] = _switch(name, value, bool(equals), place)
                continue
            if not equals:
                raise bad(place, f"--{name} has no value", f"write --{name}=VALUE")
            if kind == LIST:
                self._lists.setdefault(name, []).append(value)
            else:
                self._texts[name] = value

    def text(self, name: str) -> str:
        return self._texts.get(name, "")

    def list(self, name: str) -> tuple[str, ...]:
        return tuple(self._lists.get(name, ()))

    def switch(self, name: str) -> bool:
        return self._switches.get(name, False)

    def maybe(self, name: str) -> bool | None:
        return self._switches.get(name)


def meant(word: str, known: Iterable[str], prefix: str = "") -> str:
    """A hint where `word` looks like a known one that was misspelt, else ""."""
    close = difflib.get_close_matches(word[:60].lower(), [name.lower() for name in known], 1)
    if not close:
        return ""
    name = next(name for name in known if name.lower() == close[0])
    return f"did you mean {prefix}{name}?"


def _offered(keyword: str, known: Mapping[str, str]) -> str:
    if not known:
        return f"{keyword} takes no flags; write -- before what begins so"
    return "it knows " + ", ".join(f"--{name}" for name in known)


def _switch(name: str, value: str, has_value: bool, place: Place) -> bool:
    lowered = value.lower()
    if not has_value or lowered == "true":
        return True
    if lowered == "false":
        return False
    raise bad(place, f"--{name}={value}", f"write --{name}, --{name}=true or --{name}=false")
