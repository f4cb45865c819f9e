"""Killed and interrupted builds, and many at the same time: nothing is left, nothing is lost."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time

import pytest

from orlop.kit.config import Config
from orlop.pod.context import Pods
from orlop.pod.records import BUILD_STEP
from orlop.pod.recover import recover
from tests.build.builds import Bench, command
from tests.support.node import mounts_below, opened, processes

pytestmark = pytest.mark.host

_LONG = """\
FROM busybox
RUN echo 1 > /1
COPY f /f
RUN --mount=type=cache,target=/c --mount=type=bind,target=/ctx,rw echo begun; sleep 600
"""
_SHORT = """\
FROM busybox AS one
RUN for i in 1 2 3 4 5 6 7 8 9; do head -c 300000 /dev/urandom > /r$i; done
COPY f /f
RUN rm /r1 && mkdir /d && mv /r2 /d
FROM busybox
COPY --from=one / /all
RUN --mount=type=cache,target=/c date >> /c/log
"""


def test_a_killed_build_is_cleared_up_by_the_next_command(bench: Bench) -> None:
    bench.write({"Containerfile": _LONG, "f": "x"})
    child = command(bench.node, "build", str(bench.folder), stderr=subprocess.PIPE)
    assert child.stderr is not None
    with child, child.stderr:
        while b"begun" not in child.stderr.readline():
            assert child.poll() is None
        child.kill()
    pods = Pods(bench.node, Config.load(bench.node))  # what every command does first
    assert not pods.records.rows("containers", "name = ?", (BUILD_STEP,))
    assert not pods.records.rows("sandboxes")
    pods.close()
    _nothing_left(bench)


def test_an_interrupted_build_clears_up_itself(bench: Bench) -> None:
    bench.write({"Containerfile": _LONG, "f": "x"})
    child = command(bench.node, "build", str(bench.folder), stderr=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stderr is not None
    with child, child.stderr:
        while b"begun" not in child.stderr.readline():
            assert child.poll() is None
        child.send_signal(signal.SIGINT)
        child.stderr.read()
        assert child.wait(30) == 130
    _nothing_left(bench)
    assert bench.make(_LONG.replace("sleep 600", "true")).cached == 2


def test_killed_at_any_moment(bench: Bench) -> None:
    bench.write({"Containerfile": _SHORT, "f": "x"})
    began = time.monotonic()
    assert (
        command(bench.node, "build", "--no-cache", str(bench.folder), stderr=subprocess.DEVNULL).wait(60) == 0
    )
    whole = time.monotonic() - began
    for moment in sorted(random.Random(5).uniform(0.1, whole) for _ in range(8)):
        child = command(
            bench.node,
            *("build", "--no-cache", str(bench.folder)),
            stderr=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        try:
            child.wait(moment)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        assert command(bench.node, "ps", stdout=subprocess.DEVNULL).wait(60) == 0
        _nothing_left(bench)
        assert bench.store.check().clean
    assert bench.make(_SHORT).steps == 5


def test_eight_builds_of_one_file_at_once(bench: Bench) -> None:
    bench.write({"Containerfile": _SHORT.replace("/dev/urandom", "/dev/zero"), "f": "x"})
    environment = {**os.environ, "SOURCE_DATE_EPOCH": "1000000000"}
    children = [
        command(
            bench.node,
            *("build", "-q", "-t", f"app:{number}", str(bench.folder)),
            stdout=subprocess.PIPE,
            env=environment,
        )
        for number in range(8)
    ]
    answers = set()
    for child in children:
        output, _ = child.communicate(timeout=240)
        assert child.returncode == 0
        answers.add(output)
    assert len(answers) == 1
    assert len([image for image in bench.store.images() if "localhost/app:7" in image.names]) == 1
    assert bench.store.check().clean
    _nothing_left(bench)


def _nothing_left(bench: Bench) -> None:
    with opened(bench.node) as pods:
        assert not recover(pods).failures
    deadline = time.monotonic() + 10
    while processes(bench.node) and time.monotonic() < deadline:  # conmon ends a moment after its container
        time.sleep(0.05)
    assert not processes(bench.node)
    # Layers that are mounted from their files stay mounted for the next container; nothing else does.
    assert not [
        path for path in mounts_below(bench.node) if not path.startswith(f"{bench.node.state}/layers/")
    ]
    bench.store.collect()
    for folder in ("tmp", "rootfs"):
        path = f"{bench.node.root}/{folder}"
        assert not os.path.isdir(path) or not os.listdir(path)
