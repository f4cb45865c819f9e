"""critest 1.36.0, whole: everything that this kernel can run passes, and nothing is skipped besides."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance import critest, page
from tests.conformance.critest import FAILED, PASSED, SKIPPED, Spec
from tests.conformance.stand import stand
from tests.support.cri import Daemon

pytestmark = [pytest.mark.host, pytest.mark.timeout(1200)]


@pytest.fixture(scope="module")
def serving() -> Iterator[Daemon]:
    with stand() as running:
        yield running


@pytest.fixture(scope="module")
def specs(serving: Daemon, tmp_path_factory: pytest.TempPathFactory) -> list[Spec]:
    return critest.run(serving.socket, tmp_path_factory.mktemp("critest"))


def test_every_spec_that_can_pass_here_does(specs: list[Spec]) -> None:
    failed = {
        f"{spec.group}: {spec.name}": spec.why
        for spec in specs
        if spec.state == FAILED and not spec.is_pinned
    }
    assert not failed


def test_only_benchmarks_and_apparmor_are_skipped(specs: list[Spec]) -> None:
    skipped = [spec for spec in specs if spec.state == SKIPPED]
    assert [spec.name for spec in skipped if not (spec.is_benchmark or spec.wants_apparmor)] == []
    assert sum(spec.is_benchmark for spec in skipped) == 5
    assert len(specs) == 122
    assert sum(spec.state == PASSED for spec in specs) >= 107


def test_the_page_says_what_the_run_says(specs: list[Spec]) -> None:
    if any(spec.wants_apparmor and spec.state != SKIPPED for spec in specs):
        return  # a kernel with AppArmor: more runs than the page can say
    assert page.table(specs) == page.written(), "write it anew: python -m tests.conformance --write"


def test_streams_pass_over_websocket_too(serving: Daemon, tmp_path: Path) -> None:
    flags = ["-websocket-exec", "-websocket-attach", "-websocket-portforward"]
    found = critest.run(serving.socket, tmp_path, focus=["Streaming"], arguments=flags)
    tried = [spec for spec in found if spec.group == "Streaming"]
    assert len(tried) == 5
    assert [(spec.name, spec.why) for spec in tried if spec.state != PASSED] == []
