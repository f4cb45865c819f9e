"""Names of groups and runtimes: systemd's slices as paths and back, cgroup parents, runtime handlers."""

from __future__ import annotations

from pathlib import Path

import pytest

from orlop.kit.errors import InvalidInput
from orlop.runtime import handlers
from orlop.runtime.cgroups import slices, systemd
from orlop.runtime.model import Resources


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("-.slice", ""),
        ("a.slice", "/a.slice"),
        ("kubepods-besteffort-pod1_2.slice", "/kubepods.slice/kubepods-besteffort.slice/"),
    ],
)
def test_every_dash_of_a_slice_is_a_step_down(name: str, path: str) -> None:
    full = path + name if path.endswith("/") else path
    assert slices.path_of_slice(name) == full
    scope = slices.scope(full, "ab" * 32)
    if full:
        assert slices.from_runtime(slices.for_runtime(scope)) == scope
        assert slices.for_runtime(scope) == f"{name}:orlop:{'ab' * 32}"


@pytest.mark.parametrize(
    "bad", ["", ".slice", "-a.slice", "a-.slice", "a--b.slice", "a/b.slice", "a.service"]
)
def test_what_is_no_slice_is_refused(bad: str) -> None:
    with pytest.raises(InvalidInput):
        slices.path_of_slice(bad)


def test_what_a_runtime_is_told_is_understood_again() -> None:
    assert slices.from_runtime("/orlop/pod1/c") == "/orlop/pod1/c"
    assert slices.from_runtime(":orlop:c") == "/system.slice/orlop-c.scope"
    assert slices.from_runtime("a-b.slice::c") == "/a.slice/a-b.slice/c.scope"
    assert slices.from_runtime("a.slice:x:a-b.slice") == "/a.slice/a-b.slice"
    for odd in ("", "c", "a:b", "a:b:", "bad--name.slice:x:c", "a:b:c:d"):
        assert slices.from_runtime(odd) == ""
    # No slice of ours lies in another node's: a dash in an identity is no step.
    assert slices.own_slice("orlop-12ab", "pod34") == "/orlop_12ab.slice/orlop_12ab-pod34.slice"


def test_a_parent_is_a_slice_where_systemd_manages_and_a_path_elsewhere() -> None:
    nested = "/kubepods.slice/kubepods-burstable.slice"
    for asked in ("kubepods-burstable.slice", nested, nested + "/"):
        assert slices.parent(asked, systemd=True) == nested
    assert slices.parent("kubepods/burstable", systemd=False) == "/kubepods/burstable"
    assert slices.parent("/kubepods/burstable/", systemd=False) == "/kubepods/burstable"
    with pytest.raises(InvalidInput, match="no slice"):
        slices.parent("/kubepods/burstable", systemd=True)
    for bad in (nested, "a/../../b", "a//b", "/", "a\nb", "x" * 5000):
        with pytest.raises(InvalidInput):
            slices.parent(bad, systemd=False)


def test_limits_have_names_for_systemd() -> None:
    asked = Resources(cpu_shares=1024, cpu_quota=50_000, memory_limit=1 << 20, pids=7)
    words = {name: value for name, _, value in systemd.properties(asked, unified=True)}
    assert words == {
        "CPUWeight": "39",
        "CPUQuotaPerSecUSec": "500000",
        "MemoryMax": str(1 << 20),
        "TasksMax": "7",
    }
    older = {name for name, _, _ in systemd.properties(asked, unified=False)}
    assert older == {"CPUShares", "CPUQuotaPerSecUSec", "MemoryLimit", "TasksMax"}
    assert systemd.properties(Resources(memory_limit=-1, cpu_quota=-1), unified=True) == [
        ("CPUQuotaPerSecUSec", "t", str(systemd.INFINITE)),
        ("MemoryMax", "t", str(systemd.INFINITE)),
    ]


def test_handlers_are_named_and_the_default_one_has_two_names() -> None:
    found = handlers.configured(("heavy=/opt/runc", "crun=/opt/crun"), "crun", "/state")
    assert found[""].root == "/state/crun"
    assert found["heavy"] == handlers.Handler("heavy", "/opt/runc", "/state/handler-heavy")
    assert found["crun"].program == "/opt/crun"  # who names it again means it
    for bad in ("heavy", "=x", "a=", "A=/x", "../a=/x", "a" * 64 + "=/x"):
        with pytest.raises(InvalidInput, match="handlers"):
            handlers.configured((bad,), "crun", "/state")


def test_a_bundle_remembers_its_handler(tmp_path: Path) -> None:
    assert handlers.remembered(str(tmp_path)) is None
    heavy = handlers.Handler("heavy", "/opt/runc", "/state/handler-heavy")
    handlers.remember(str(tmp_path), heavy)
    assert handlers.remembered(str(tmp_path)) == heavy
    (tmp_path / "handler").write_text("torn")
    assert handlers.remembered(str(tmp_path)) is None
