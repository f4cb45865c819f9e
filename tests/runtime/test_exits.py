"""Waiting for the end of containers, by conmon's exit files alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from orlop.runtime import exits


def test_an_end_that_is_recorded_already_is_not_watched_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").write_text("3")
    monkeypatch.setattr(exits, "watch", lambda folder: pytest.fail("closing a watch costs 15 ms"))
    assert exits.wait(str(tmp_path), "a", [], None)


def test_an_end_that_nobody_will_record_is_not_waited_for(tmp_path: Path) -> None:
    assert not exits.wait(str(tmp_path), "a", [], None)
