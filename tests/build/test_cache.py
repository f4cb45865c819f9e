"""What is found in the cache and what is not; the same digests from the same input."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from orlop.build.remote_cache import Imported, export
from orlop.kit.node import Node
from orlop.pod.records import BUILD_STEP
from tests.build.builds import Bench
from tests.support.node import opened, temporary_node

pytestmark = pytest.mark.host

_TEXT = """\
FROM busybox AS made
ARG V=1
RUN echo $V > /v
COPY a /a
FROM busybox
ENV X=1
COPY --from=made /v /a /
RUN cat /v /a > /both; touch /bin
WORKDIR /made
CMD ["sh"]
"""


def test_a_warm_build_carries_out_nothing(bench: Bench) -> None:
    bench.write({"a": "1"})
    first = bench.make(_TEXT)
    assert first.cached == 0
    again = bench.make(_TEXT)
    assert (again.id, again.digest) == (first.id, first.digest)
    assert again.cached == again.steps == first.steps
    with opened(bench.node) as pods:  # not even a record
        assert not pods.records.rows("containers", "name = ?", (BUILD_STEP,))


def test_contents_count_and_times_do_not(bench: Bench) -> None:
    bench.write({"a": "1"})
    first = bench.make(_TEXT)
    os.utime(bench.folder / "a", (1, 1))
    assert bench.make(_TEXT).id == first.id
    bench.write({"a": "2"})
    changed = bench.make(_TEXT)
    assert bench.files(changed)["both"] == "1\n2"
    assert "RUN echo $V > /v" in bench.heard.cached_steps
    os.chmod(bench.folder / "a", 0o755)
    assert bench.make(_TEXT).id != changed.id


def test_arguments_and_environment_count(bench: Bench) -> None:
    bench.write({"a": "1"})
    first = bench.make(_TEXT)
    other = bench.make(_TEXT, build_args={"V": "2"})
    assert bench.files(other)["v"] == "2\n"
    assert other.id != first.id
    bench.make(_TEXT.replace("ENV X=1", "ENV X=2"))
    assert any(step.startswith("RUN cat") for step in bench.heard.steps)
    bench.make(_TEXT, build_args={"http_proxy": "http://192.0.2.1"})
    assert not [step for step in bench.heard.steps if step.startswith("RUN")]


def test_a_stage_whose_result_is_the_same_changes_nothing_after_it(bench: Bench) -> None:
    text = "FROM busybox AS s\nRUN echo {0}; echo same > /f\nFROM busybox\nCOPY --from=s /f /\nRUN cat /f"
    bench.make(text.format(1))
    bench.make(text.format(2))
    assert bench.heard.cached_steps == ["COPY --from=s /f /", "RUN cat /f"]


def test_no_cache_carries_out_everything(bench: Bench) -> None:
    bench.write({"a": "1"})
    first = bench.make(_TEXT)
    assert bench.make(_TEXT, no_cache=True).cached == 0
    assert bench.make(_TEXT).cached == first.steps


def test_linked_copies_are_found_on_another_base(bench: Bench) -> None:
    bench.write({"a": "1"})
    bench.make("FROM busybox\nRUN echo 1 > /1\nCOPY --link a /deep/a\n")
    built = bench.make("FROM busybox\nRUN echo 2 > /2\nCOPY --link a /deep/a\n")
    assert bench.heard.cached_steps == ["COPY --link a /deep/a"]
    files = bench.files(built)
    assert (files["deep/a"], files["2"]) == ("1", "2\n")


def test_two_nodes_give_the_same_digests(bench: Bench, tmp_path: Path) -> None:
    bench.write({"a": "1"})
    first = bench.make(_TEXT, epoch=1_000_000_000)
    with temporary_node() as node:
        other = Bench(node, tmp_path / "elsewhere")
        other.write({"a": "1"})
        os.utime(other.folder / "a", (1_500_000_000, 1_500_000_000))  # another checkout, later than the epoch
        second = other.make(_TEXT, epoch=1_000_000_000)
        assert (second.id, second.digest) == (first.id, first.digest)
    config = bench.config(first)
    assert config["created"] == "2001-09-09T01:46:40Z"
    assert {entry["created"] for entry in config["history"][1:]} == {"2001-09-09T01:46:40Z"}


def test_a_timestamp_is_every_files_time(bench: Bench) -> None:
    bench.write({"a": "1"})
    os.utime(bench.folder / "a", (5, 5))
    built = bench.make("FROM busybox\nCOPY a /\nRUN touch -d @9 /b", timestamp=77)
    with bench.store.image_root(built.id) as root:
        assert {int(os.stat(f"{root}/{name}").st_mtime) for name in "ab"} == {77}


def test_the_cache_travels(bench: Bench, tmp_path: Path) -> None:
    bench.write({"a": "1"})
    first = bench.make(_TEXT)
    place = f"oci:{tmp_path / 'cache'}:steps"
    export(bench.store, place, first.done)
    with temporary_node() as node:
        other = Bench(node, tmp_path / "elsewhere")
        other.write({"a": "1"})
        remote = Imported(other.store, [place], lambda text: None)
        second = other.make(_TEXT, remote=remote)
        assert not [step for step in other.heard.steps if step.startswith(("RUN", "COPY"))]
        assert second.cached == second.steps
        assert other.files(second) == bench.files(first)
        remote.close()
        assert other.make(_TEXT).cached == second.steps  # now its own


def test_an_absent_cache_is_a_note(bench: Bench, tmp_path: Path) -> None:
    notes: list[str] = []
    Imported(bench.store, [f"oci:{tmp_path / 'none'}:x"], notes.append)
    assert len(notes) == 1


def test_prune_keeps_the_cache_and_all_takes_it(bench: Bench, node: Node) -> None:
    text = "FROM busybox\nRUN --mount=type=cache,target=/c echo x > /c/x; echo 1 > /f\n"
    bench.make(text)
    bench.store.prune()
    assert bench.make(text).cached == 1
    assert [row.kind for row in bench.store.df().rows].count("cache") == 1
    bench.store.prune(all_images=True)
    assert not bench.store.images()
    assert not [row for row in bench.store.df().rows if row.kind == "cache"]
    assert not os.listdir(f"{node.root}/layers")
