"""docs/security.md: every test that it names is there, every file, and every test of a class is named."""

from __future__ import annotations

import re

import pytest

from tests.docs.pages import ROOT

_PAGE = (ROOT / "docs/security.md").read_text(encoding="utf-8")
_NAMED = sorted(set(re.findall(r"`([\w/]+\.py)::(test_\w+)`", _PAGE)))


@pytest.mark.parametrize(("file", "name"), _NAMED)
def test_a_named_test_exists(file: str, name: str) -> None:
    text = (ROOT / "tests" / file).read_text(encoding="utf-8")
    assert re.search(rf"^(async )?def {name}\(", text, re.MULTILINE)


def test_named_files_exist() -> None:
    rows = re.findall(r"^\| [^|]+ \| ([^|]+) \| `[^|]+::", _PAGE, re.MULTILINE)
    paths = {path for row in rows for path in re.findall(r"`([\w/.]+)`", row)}
    assert len(rows) >= 30
    assert not [path for path in paths if not (ROOT / "src/orlop" / path).exists()]


def test_no_test_of_a_class_is_left_out() -> None:
    written = set()
    for path in (ROOT / "tests").rglob("test_*.py"):
        written |= set(
            re.findall(r"^def (test_\w*cve_\w+)\(", path.read_text(encoding="utf-8"), re.MULTILINE)
        )
    classes = set(re.findall(r"CVE-(\d+-\d+)", _PAGE))
    named = {name for _, name in _NAMED}
    for name in written - named:
        numbers = re.findall(r"20\d\d_\d{4,}", name)
        assert numbers, name
        assert all(number.replace("_", "-") in classes for number in numbers), name
