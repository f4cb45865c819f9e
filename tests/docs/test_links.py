"""Every relative link of the documentation leads to a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.pages import PAGES, links


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_to_a_file(page: Path) -> None:
    broken = [target for target in links(page) if not (page.parent / target).exists()]
    assert not broken
