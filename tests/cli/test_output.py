"""Tables, sizes and times as people read them; JSON as programs do."""

from __future__ import annotations

import json

import pytest

from orlop.cli import output
from orlop.cli.describe import describe
from orlop.image.digest import Digest
from orlop.runtime.model import Mount, Resources


@pytest.mark.parametrize(
    ("count", "expected"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (12_345_678, "12.3 MB"), (999_960, "1.0 MB")],
)
def test_sizes_are_short(count: int, expected: str) -> None:
    assert output.size(count) == expected


def test_memory_counts_in_powers_of_1024() -> None:
    assert output.memory(3 << 20) == "3.0 MiB"
    assert output.memory(1023) == "1023 B"


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0, "less than a second"), (1, "1 second"), (59, "59 seconds"), (60, "1 minute"), (7300, "2 hours")],
)
def test_spans_are_rounded_down_to_their_largest_unit(seconds: int, expected: str) -> None:
    assert output.span(seconds) == expected


def test_what_never_happened_is_never() -> None:
    assert output.ago(0) == "never"
    assert output.ago(100, 280) == "3 minutes ago"
    assert output.stamp(0) is None
    assert output.stamp(1) == "1970-01-01T00:00:01.000000000Z"


def test_columns_are_aligned_and_control_characters_shown(capsys: pytest.CaptureFixture[str]) -> None:
    output.table(("NAME", "IMAGE"), [("a\x1b[2J", "x"), ("bb", "yy")])
    assert capsys.readouterr().out == "NAME      IMAGE\na\\x1b[2J  x\nbb        yy\n"


def test_values_become_objects_by_their_fields(capsys: pytest.CaptureFixture[str]) -> None:
    digest = Digest("sha256:" + "0" * 64)
    output.emit({"mount": Mount("/x", size=3), "limits": Resources(hugepages={"2MB": 1}), "id": digest})
    told = json.loads(capsys.readouterr().out)
    assert told["mount"]["destination"] == "/x"
    assert told["limits"]["hugepages"] == {"2MB": 1}
    assert told["id"] == digest


def test_nested_values_are_described_by_indentation(capsys: pytest.CaptureFixture[str]) -> None:
    describe([{"a": 1, "b": {"c": [1, {"d": True}], "e": None}}, {"f": "g"}])
    assert capsys.readouterr().out == "a: 1\nb:\n  c:\n    - 1\n    - d: yes\n  e: -\n\nf: g\n"
