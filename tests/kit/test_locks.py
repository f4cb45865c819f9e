"""File locks between threads and processes, and after a kill -9."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from orlop.kit import locks
from orlop.kit.errors import TimedOut

_HOLDER = """
import sys
from orlop.kit import locks
with locks.hold(sys.argv[1], shared=len(sys.argv) > 2):
    print("held", flush=True)
    sys.stdin.read()
"""


class Holder:
    """A process that holds a lock until it is killed."""

    def __init__(self, path: str, *more: str) -> None:
        argv = [sys.executable, "-c", _HOLDER, path, *more]
        self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == b"held\n"

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "folder" / "lock")


def test_a_lock_excludes_other_processes_until_its_holder_is_killed(path: str) -> None:
    holder = Holder(path)
    try:
        with pytest.raises(TimedOut, match="another process holds this lock"), locks.hold(path, timeout=0.05):
            pass
        with locks.attempt(path) as held:
            assert not held
    finally:
        holder.kill()
    with locks.hold(path, timeout=5), locks.attempt(path) as again:
        assert not again


def test_shared_holders_go_together_and_keep_others_out(path: str) -> None:
    holder = Holder(path, "shared")
    try:
        with locks.hold(path, shared=True, timeout=5):
            pass
        with pytest.raises(TimedOut), locks.hold(path, timeout=0.05):
            pass
    finally:
        holder.kill()


def test_threads_exclude_each_other_as_processes_do(path: str) -> None:
    inside, most, lock = 0, 0, threading.Lock()

    def work() -> None:
        nonlocal inside, most
        for _ in range(10):
            with locks.hold(path):
                with lock:
                    inside += 1
                    most = max(most, inside)
                with lock:
                    inside -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1


def test_a_child_that_inherited_a_lock_keeps_it(path: str) -> None:
    with locks.hold(path) as descriptor:
        child = subprocess.Popen(["sleep", "600"], pass_fds=[descriptor])
    try:
        with locks.attempt(path) as held:
            assert not held
    finally:
        child.kill()
        child.wait()
    with locks.hold(path, timeout=5):
        pass


def test_a_waiter_can_give_up(path: str) -> None:
    class GaveUp(Exception):
        pass

    def tick() -> None:
        raise GaveUp

    with locks.hold(path), pytest.raises(GaveUp), locks.hold(path, tick=tick):
        pass
    with locks.attempt(path) as free:
        assert free
