"""docs/configuration.md names every section and key, with the default that the code has."""

from __future__ import annotations

import dataclasses
import importlib
import json

import pytest

from orlop.cli.context import SECTIONS
from tests.docs.pages import ROOT

_PAGE = (ROOT / "docs/configuration.md").read_text(encoding="utf-8")


def _documented(section: str) -> dict[str, object]:
    """Key -> default, as the page's table of the section has them."""
    text = _PAGE.split(f"### [{section}]")[1].split("\n## ")[0].split("\n### ")[0]
    rows = [line.split("|")[1:3] for line in text.splitlines() if line.startswith("| `")]
    return {key.strip(" `"): json.loads(default.strip(" `")) for key, default in rows}


@pytest.mark.parametrize("section", SECTIONS)
def test_the_page_has_every_key_with_its_default(section: str) -> None:
    module, _, name = SECTIONS[section].rpartition(".")
    schema = getattr(importlib.import_module(module), name)
    defaults = {field.name: getattr(schema(), field.name) for field in dataclasses.fields(schema)}
    assert _documented(section) == {
        key: list(value) if isinstance(value, tuple) else value for key, value in defaults.items()
    }


def test_the_page_has_every_section() -> None:
    assert [line[5:-1] for line in _PAGE.splitlines() if line.startswith("### [")] == sorted(SECTIONS)
