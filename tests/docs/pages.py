"""Reading Markdown: the `sh` blocks of a page, and its links."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])

_BLOCK = re.compile(r"^```sh( [^\n]*)?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)#\s]+)(#[^)]*)?\)")


def blocks(page: Path) -> list[str]:
    """The shell blocks of a page, in order; one that is fenced as `sh no-run` is not among them."""
    found = _BLOCK.findall(page.read_text(encoding="utf-8"))
    return [text for word, text in found if word.strip() != "no-run"]


def links(page: Path) -> list[str]:
    """The relative links of a page."""
    return [target for target, _ in _LINK.findall(page.read_text(encoding="utf-8")) if "://" not in target]
