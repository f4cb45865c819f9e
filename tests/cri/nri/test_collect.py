"""What several plugins want of one container is put together as containerd/nri's runtime does."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from orlop.cri.nri.collect import Adjustments, Updates
from orlop.cri.nri.errors import PluginRefused, PluginsClash
from orlop.cri.nri.owners import Owners
from orlop.cri.nri.proto import nri_pb2 as pb

_LINUX = pb.LinuxContainerAdjustment
_RESOURCES = pb.LinuxResources


def _resources(**given: object) -> pb.ContainerAdjustment:
    return pb.ContainerAdjustment(linux=_LINUX(resources=_RESOURCES(**given)))  # type: ignore[arg-type]


#: Everything that only one plugin may set.
_CLAIMED: dict[str, pb.ContainerAdjustment] = {
    "Annotations a": pb.ContainerAdjustment(annotations={"a": "1"}),
    "Mounts /m": pb.ContainerAdjustment(mounts=[pb.Mount(destination="/m", source="/s")]),
    "Env E": pb.ContainerAdjustment(env=[pb.KeyValue(key="E", value="1")]),
    "Args": pb.ContainerAdjustment(args=["sh"]),
    "Rlimits RLIMIT_NOFILE": pb.ContainerAdjustment(rlimits=[pb.POSIXRlimit(type="RLIMIT_NOFILE", soft=1)]),
    "CdiDevices v/c=d": pb.ContainerAdjustment(CDI_devices=[pb.CDIDevice(name="v/c=d")]),
    "Devices /dev/d": pb.ContainerAdjustment(linux=_LINUX(devices=[pb.LinuxDevice(path="/dev/d")])),
    "CgroupsPath": pb.ContainerAdjustment(linux=_LINUX(cgroups_path="/a")),
    "OomScoreAdj": pb.ContainerAdjustment(linux=_LINUX(oom_score_adj=pb.OptionalInt())),
    "IoPriority": pb.ContainerAdjustment(linux=_LINUX(io_priority=pb.LinuxIOPriority(priority=1))),
    "SeccompPolicy": pb.ContainerAdjustment(linux=_LINUX(seccomp_policy=pb.LinuxSeccomp())),
    "Namespace pid": pb.ContainerAdjustment(linux=_LINUX(namespaces=[pb.LinuxNamespace(type="pid")])),
    "Sysctl s": pb.ContainerAdjustment(linux=_LINUX(sysctl={"s": "1"})),
    "LinuxNetDevices e": pb.ContainerAdjustment(linux=_LINUX(net_devices={"e": pb.LinuxNetDevice()})),
    "LinuxSched": pb.ContainerAdjustment(linux=_LINUX(scheduler=pb.LinuxScheduler(nice=1))),
    "RdtClosID": pb.ContainerAdjustment(linux=_LINUX(rdt=pb.LinuxRdt(clos_id=pb.OptionalString(value="c")))),
    "MemoryPolicy": pb.ContainerAdjustment(linux=_LINUX(memory_policy=pb.LinuxMemoryPolicy(nodes="0"))),
    "MemLimit": _resources(memory=pb.LinuxMemory(limit=pb.OptionalInt64(value=1))),
    "MemDisableOomKiller": _resources(memory=pb.LinuxMemory(disable_oom_killer=pb.OptionalBool(value=True))),
    "CPUShares": _resources(cpu=pb.LinuxCPU(shares=pb.OptionalUInt64(value=1))),
    "CPUSetCPUs": _resources(cpu=pb.LinuxCPU(cpus="0")),
    "HugepageLimits 2MB": _resources(hugepage_limits=[pb.HugepageLimit(page_size="2MB", limit=1)]),
    "CgroupsUnified u": _resources(unified={"u": "1"}),
    "BlockioClass": _resources(blockio_class=pb.OptionalString(value="c")),
    "RdtClass": _resources(rdt_class=pb.OptionalString(value="c")),
    "PidsLimit": _resources(pids=pb.LinuxPids(limit=1)),
}


@pytest.mark.parametrize("what", _CLAIMED)
def test_two_plugins_cannot_set_the_same(what: str) -> None:
    made = Adjustments(pb.Container(id="c"))
    made.add(_CLAIMED[what], "10-one")
    with pytest.raises(PluginsClash, match=f"20-two and 10-one both set {what}$"):
        made.add(_CLAIMED[what], "20-two")


@pytest.mark.parametrize("what", _CLAIMED)
def test_what_one_plugin_wants_is_wanted(what: str) -> None:
    made = Adjustments(pb.Container(id="c"))
    made.add(_CLAIMED[what], "10-one")
    assert made.adjust == _CLAIMED[what]


def test_hooks_and_rules_of_devices_add_up() -> None:
    made = Adjustments(pb.Container(id="c"))
    for name in ("10-one", "20-two"):
        made.add(
            pb.ContainerAdjustment(
                hooks=pb.Hooks(prestart=[pb.Hook(path=f"/{name}")]),
                linux=_LINUX(resources=_RESOURCES(devices=[pb.LinuxDeviceCgroup(type="c")])),
            ),
            name,
        )
    assert [hook.path for hook in made.adjust.hooks.prestart] == ["/10-one", "/20-two"]
    assert len(made.adjust.linux.resources.devices) == 2
    assert made.owners.of("c", pb.OciHooks) == {"": "10-one,20-two"}


def _mounts(*destinations: str) -> pb.ContainerAdjustment:
    return pb.ContainerAdjustment(mounts=[pb.Mount(destination=path, source="/s") for path in destinations])


def _env(*names: str) -> pb.ContainerAdjustment:
    return pb.ContainerAdjustment(env=[pb.KeyValue(key=name) for name in names])


def _devices(*paths: str) -> pb.ContainerAdjustment:
    return pb.ContainerAdjustment(linux=_LINUX(devices=[pb.LinuxDevice(path=path) for path in paths]))


def _annotations(*names: str) -> pb.ContainerAdjustment:
    return pb.ContainerAdjustment(annotations=dict.fromkeys(names, ""))


@pytest.mark.parametrize("wanting", [_mounts, _env, _devices, _annotations])
def test_who_removes_what_another_set_may_set_it_anew(
    wanting: Callable[..., pb.ContainerAdjustment],
) -> None:
    made = Adjustments(pb.Container(id="c"))
    made.add(wanting("x"), "10-one")
    made.add(wanting("-x", "x"), "20-two")
    with pytest.raises(PluginsClash):
        made.add(wanting("x"), "30-three")


@pytest.mark.parametrize("wanting", [_mounts, _env, _devices, _annotations])
def test_a_removal_takes_back_what_another_set_and_stays(
    wanting: Callable[..., pb.ContainerAdjustment],
) -> None:
    made = Adjustments(pb.Container(id="c"))
    made.add(wanting("x", "y"), "10-one")
    made.add(wanting("-x"), "20-two")
    assert made.adjust in (wanting("y", "-x"), wanting("-x", "y"))


def test_the_next_plugin_sees_the_container_as_it_is_to_be() -> None:
    asked = pb.Container(
        id="c",
        args=["a"],
        env=["KEEP=1", "GO=1"],
        mounts=[pb.Mount(destination="/old"), pb.Mount(destination="/m")],
    )
    made = Adjustments(asked)
    made.add(
        pb.ContainerAdjustment(
            args=["b"],
            env=[pb.KeyValue(key="-GO"), pb.KeyValue(key="NEW", value="2")],
            mounts=[pb.Mount(destination="-/old"), pb.Mount(destination="/m", source="/new")],
            linux=_LINUX(resources=_RESOURCES(cpu=pb.LinuxCPU(shares=pb.OptionalUInt64(value=5)))),
        ),
        "10-one",
    )
    assert list(made.container.args) == ["b"]
    assert list(made.container.env) == ["KEEP=1", "NEW=2"]
    assert [(mount.destination, mount.source) for mount in made.container.mounts] == [("/m", "/new")]
    assert made.container.linux.resources.cpu.shares.value == 5
    assert list(asked.args) == ["a"], "what was asked for stays as it was"


def test_arguments_that_begin_with_nothing_replace_another_plugins() -> None:
    made = Adjustments(pb.Container(id="c"))
    made.add(pb.ContainerAdjustment(args=["a"]), "10-one")
    made.add(pb.ContainerAdjustment(args=["", "b"]), "20-two")
    assert list(made.adjust.args) == ["b"]


def test_a_zero_that_a_plugin_says_is_said() -> None:
    made = Adjustments(pb.Container(id="c"))
    made.add(_resources(memory=pb.LinuxMemory(swappiness=pb.OptionalUInt64())), "10-one")
    assert made.adjust.linux.resources.memory.HasField("swappiness")


def _update(name: str, shares: int, *, ignore: bool = False) -> pb.ContainerUpdate:
    resources = _RESOURCES(cpu=pb.LinuxCPU(shares=pb.OptionalUInt64(value=shares)))
    return pb.ContainerUpdate(
        container_id=name, linux=pb.LinuxContainerUpdate(resources=resources), ignore_failure=ignore
    )


def test_updates_of_others_clash_unless_they_may_fail() -> None:
    made = Updates(Owners())
    made.add([_update("a", 1)], "10-one")
    with pytest.raises(PluginsClash):
        made.add([_update("a", 2)], "20-two")
    made.add([_update("a", 3, ignore=True)], "30-three")
    assert [update.linux.resources.cpu.shares.value for update in made.others()] == [1]


def test_a_container_that_is_being_made_is_not_updated() -> None:
    with pytest.raises(PluginRefused, match="10-one"):
        Adjustments(pb.Container(id="c")).updates.add([_update("c", 1)], "10-one")


def test_the_update_that_is_asked_for_is_what_plugins_make_of_it() -> None:
    made = Updates(Owners())
    made.requested("c", _RESOURCES(memory=pb.LinuxMemory(limit=pb.OptionalInt64(value=9))))
    made.add([_update("c", 4), _update("other", 5)], "10-one")
    assert (made.of("c").memory.limit.value, made.of("c").cpu.shares.value) == (9, 4)
    assert [update.container_id for update in made.others("c")] == ["other"]
