"""docs/conformance.md: its table is made from a report of critest (`python -m tests.conformance --write`)."""

from __future__ import annotations

from collections import Counter
from itertools import groupby

from tests.conformance.critest import FAILED, PASSED, SKIPPED, Spec
from tests.docs.pages import ROOT

PAGE = ROOT / "docs" / "conformance.md"
_BEGIN = "<!-- made by `python -m tests.conformance --write` -->\n"


def write(specs: list[Spec]) -> None:
    """Put the table into the page, behind its prose."""
    prose = PAGE.read_text(encoding="utf-8").partition(_BEGIN)[0]
    PAGE.write_text(prose + _BEGIN + "\n" + table(specs), encoding="utf-8")


def written() -> str:
    """The table that the page has."""
    return PAGE.read_text(encoding="utf-8").partition(_BEGIN)[2].lstrip("\n")


def table(specs: list[Spec]) -> str:
    """Spec by spec, in the order of their names; a run says the same thing again."""
    counts = Counter(spec.state for spec in specs)
    lines = [
        f"{len(specs)} specs: {counts[PASSED]} pass, {counts[FAILED]} fails, {counts[SKIPPED]} are skipped."
    ]
    for group, members in groupby(specs, key=lambda spec: spec.group):
        lines += ["", f"### {group}", "", "| spec | |", "|---|---|"]
        lines += [f"| {_escaped(spec.name)} | {_said(spec)} |" for spec in members]
    return "\n".join(lines) + "\n"


def _said(spec: Spec) -> str:
    if spec.state == PASSED:
        return "passes"
    if spec.is_benchmark:
        return "skipped: a benchmark"
    if spec.wants_apparmor and spec.state == SKIPPED:
        return "skipped: no AppArmor in this kernel"
    if spec.is_pinned:
        return "**fails**: the image cannot be made"
    return "**fails**" if spec.state == FAILED else "**skipped**"


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "\\<").replace("*", "\\*")
