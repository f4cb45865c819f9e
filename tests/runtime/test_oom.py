"""Lack of memory is told of the container that had it, also where systemd has taken its group away."""

from __future__ import annotations

from pathlib import Path

import pytest

from orlop.runtime import oom
from orlop.runtime.cgroups.v2 import V2

GROUP = "/pod.slice/orlop-mine.scope"


class Pod:
    """A slice as files, with the scopes that are there."""

    def __init__(self, tmp_path: Path) -> None:
        self.root = tmp_path / "cgroup"
        (self.root / "pod.slice").mkdir(parents=True)
        (self.root / "cgroup.controllers").write_text("memory\n")
        self.bundle = tmp_path / "bundle"
        self.bundle.mkdir()
        self.cgroups = V2(str(self.root))
        self.killed(0)

    def killed(self, total: int, **scopes: int) -> None:
        """So often in all, and so often in the scopes that are there now."""
        slice_ = self.root / "pod.slice"
        (slice_ / "memory.events").write_text(f"oom {total}\noom_kill {total}\n")
        for old in slice_.glob("*.scope"):
            (old / "memory.events").unlink()
            old.rmdir()
        for name, count in scopes.items():
            (slice_ / f"orlop-{name}.scope").mkdir()
            (slice_ / f"orlop-{name}.scope/memory.events").write_text(f"oom_kill {count}\n")

    def begun(self) -> None:
        oom.prepare(str(self.bundle), self.cgroups, GROUP)

    def told(self, *, systemd: bool = True, killed: bool = True) -> bool:
        return oom.happened(str(self.bundle), self.cgroups, GROUP, systemd=systemd, killed=killed)


@pytest.fixture
def made(tmp_path: Path) -> Pod:
    return Pod(tmp_path)


def test_the_slice_knows_it_when_the_scope_is_gone(made: Pod) -> None:
    made.killed(3, other=1)
    made.begun()
    made.killed(4, other=1)
    assert made.told()
    assert not made.told(killed=False), "it ended otherwise"


def test_another_container_of_the_pod_is_not_it(made: Pod) -> None:
    made.killed(1, other=1)
    made.begun()
    made.killed(5, other=5)
    assert not made.told()


def test_our_own_signal_needs_no_other_cause(made: Pod) -> None:
    made.begun()
    made.killed(1)
    assert made.told()
    oom.mark_killed(str(made.bundle))
    assert not made.told()
    oom.mark_killed(str(made.bundle / "gone"))


def test_its_own_group_and_conmons_mark_outrank_all(made: Pod) -> None:
    made.begun()
    made.killed(1, mine=1)
    oom.mark_killed(str(made.bundle))
    assert made.told()
    assert made.told(systemd=False, killed=False)
    made.killed(0, mine=0)
    assert not made.told(systemd=False)
    (made.bundle / "oom").touch()
    assert made.told(systemd=False)
