from __future__ import annotations

from pathlib import Path

from orlop.kit.node import Node
from orlop.system.volumes.cleanup import cleanup
from orlop.system.volumes.termination import LONGEST, read_termination, termination_log


def test_a_message_is_read_back_and_the_next_start_begins_empty(node: Node) -> None:
    path = Path(termination_log(node, "u", "main"))
    assert path.stat().st_mode & 0o777 == 0o666
    path.write_text("no disk")
    assert read_termination(node, "u", "main") == "no disk"
    termination_log(node, "u", "main")
    assert read_termination(node, "u", "main") == ""


def test_only_the_end_of_a_long_message_counts(node: Node) -> None:
    Path(termination_log(node, "u", "main")).write_bytes(b"x" * 10_000 + b"the end\xff")
    found = read_termination(node, "u", "main")
    assert found.endswith("the end\N{REPLACEMENT CHARACTER}")
    assert len(found) == LONGEST


def test_there_is_no_message_where_nobody_wrote_one(node: Node) -> None:
    assert read_termination(node, "u", "main") == ""
    termination_log(node, "u", "main")
    cleanup(node, "u")
    assert read_termination(node, "u", "main") == ""
