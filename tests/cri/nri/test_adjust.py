"""What plugins want is carried out on the specification, and said in the runtime-spec's words."""

from __future__ import annotations

import json

import pytest
from google.protobuf.json_format import ParseDict

from orlop.cri.nri import resources
from orlop.cri.nri.adjust import adjusted
from orlop.cri.nri.errors import BadAdjustment
from orlop.cri.nri.proto import nri_pb2 as pb
from orlop.kit.errors import InvalidInput
from orlop.runtime.model import ContainerSpec, Device, Mount, Namespaces, Process, Resources
from orlop.runtime.spec.build import lay

_SPEC = ContainerSpec(
    id="ab" * 32,
    root="/root",
    process=Process(("sh",), ("A=1", "B=2")),
    cgroup="/pods/one",
    mounts=(Mount("/etc/hosts", "/h"), Mount("/data/", "/d")),
    devices=(Device("/dev/null", "/dev/given"),),
    annotations={"keep": "1", "go": "1"},
    sysctls={"net.a": "1"},
    resources=Resources(memory_limit=10, memory_swap=20, cpu_limit=500),
    rlimits={"RLIMIT_CORE": (0, 0)},
    namespaces=Namespaces(network="/net", pid=""),
)


def _made(wanted: dict[str, object]) -> ContainerSpec:
    return adjusted(_SPEC, ParseDict(wanted, pb.ContainerAdjustment()), ())


def test_nothing_wanted_is_nothing_changed() -> None:
    assert _made({}) == _SPEC


def test_the_process_environment_annotations_and_sysctls() -> None:
    made = _made(
        {
            "args": ["run", "it"],
            "env": [{"key": "-A"}, {"key": "B", "value": "3"}, {"key": "C", "value": "x=y"}],
            "annotations": {"-go": "", "new": "2"},
            "linux": {"sysctl": {"-net.a": "", "net.b": "2"}},
        }
    )
    assert made.process.args == ("run", "it") and made.process.env == ("B=3", "C=x=y")
    assert made.annotations == {"keep": "1", "new": "2"} and made.sysctls == {"net.b": "2"}


def test_mounts_are_replaced_removed_and_taken_as_they_are() -> None:
    made = _made(
        {
            "mounts": [
                {
                    "destination": "/data",
                    "source": "/n",
                    "type": "bind",
                    "options": ["rbind", "rslave", "ro", "noexec"],
                },
                {"destination": "-/etc/hosts"},
                {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["rw"]},
            ]
        }
    )
    assert made.mounts == (
        Mount("/data", "/n", read_only=True, propagation="rslave", options=("noexec",)),
        Mount("/sys/fs/cgroup", "cgroup", kind="cgroup", options=("rw",)),
    )
    assert made.without_mounts == ("/etc/hosts",)


def test_devices_have_the_numbers_and_rights_that_are_wanted() -> None:
    made = _made(
        {
            "linux": {
                "devices": [
                    {"path": "-/dev/given"},
                    {"path": "/dev/c", "type": "c", "major": 1, "minor": 2, "fileMode": {"value": 0o444}},
                    {"path": "/dev/b", "type": "b", "uid": {"value": 5}},
                ]
            }
        }
    )
    assert made.devices == (
        Device("/dev/c", "/dev/c", "r", "c", 1, 2, mode=0o444),
        Device("/dev/b", "/dev/b", "rwm", "b", owner=(5, 0)),
    )


def test_limits() -> None:
    made = _made(
        {
            "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 5, "hard": 2**64 - 1}],
            "linux": {
                "oomScoreAdj": {"value": -5},
                "cgroupsPath": "/other",
                "resources": {
                    "memory": {"limit": {"value": 99}, "swappiness": {"value": 0}},
                    "cpu": {"quota": {"value": -1}, "cpus": "0-1", "realtimePeriod": {"value": 7}},
                    "hugepageLimits": [{"pageSize": "2MB", "limit": 4}],
                    "unified": {"memory.high": "5"},
                    "pids": {"limit": 6},
                    "devices": [{"allow": True, "type": "c", "major": {"value": 0}, "access": "r"}],
                },
            },
        }
    )
    assert made.rlimits == {"RLIMIT_CORE": (0, 0), "RLIMIT_NOFILE": (5, -1)}
    limits = made.resources
    assert (limits.memory_limit, limits.memory_swap, limits.oom_score_adj) == (99, 0, -5)
    assert (limits.cpu_limit, limits.cpu_quota, limits.cpuset_cpus, limits.pids) == (500, -1, "0-1", 6)
    assert limits.hugepages == {"2MB": 4} and limits.unified == {"memory.high": "5"}
    assert made.cgroup == "/other"
    assert made.extra == {
        "linux": {
            "resources": {
                "memory": {"swappiness": 0},
                "cpu": {"realtimePeriod": 7},
                "devices": [{"allow": True, "type": "c", "major": 0, "access": "r"}],
            }
        }
    }


def test_limits_survive_the_way_through_plugins_that_want_nothing() -> None:
    asked = Resources(cpu_limit=500, memory_limit=10, memory_swap=30, pids=4, hugepages={"2MB": 6})
    back = resources.changed(asked, resources.message(asked))
    assert (back.memory_limit, back.memory_swap, back.pids, back.hugepages) == (10, 30, 4, {"2MB": 6})
    assert (back.cpu_quota, back.cpu_period) == (50_000, 100_000)


def test_what_has_no_field_is_said_in_the_runtimes_words() -> None:
    made = _made(
        {
            "linux": {
                "ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 3},
                "scheduler": {"policy": "SCHED_BATCH", "nice": 5, "flags": ["SCHED_FLAG_RESET_ON_FORK"]},
                "memoryPolicy": {"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]},
                "rdt": {"closId": {"value": "gold"}, "schemata": {"value": ["L3:0=f"]}},
                "netDevices": {"eth7": {"name": "inside"}, "eth8": {}, "-eth9": {}},
                "seccompPolicy": {
                    "defaultAction": "SCMP_ACT_ALLOW",
                    "syscalls": [
                        {
                            "names": ["mkdir"],
                            "action": "SCMP_ACT_ERRNO",
                            "errnoRet": {"value": 1},
                            "args": [{"index": 1, "value": 2, "op": "SCMP_CMP_EQ"}],
                        }
                    ],
                },
            }
        }
    )
    assert made.extra == {
        "process": {
            "ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 3},
            "scheduler": {"policy": "SCHED_BATCH", "flags": ["SCHED_FLAG_RESET_ON_FORK"], "nice": 5},
        },
        "linux": {
            "memoryPolicy": {"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]},
            "intelRdt": {"closID": "gold", "schemata": ["L3:0=f"]},
            "netDevices": {"eth7": {"name": "inside"}, "eth8": {}},
            "seccomp": {
                "defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [
                    {
                        "names": ["mkdir"],
                        "action": "SCMP_ACT_ERRNO",
                        "errnoRet": 1,
                        "args": [{"index": 1, "value": 2, "valueTwo": 0, "op": "SCMP_CMP_EQ"}],
                    }
                ],
            },
        },
    }
    json.dumps(made.extra)


def test_namespaces_are_replaced_made_anew_or_shared_with_the_machine() -> None:
    made = _made(
        {"linux": {"namespaces": [{"type": "network", "path": "/n2"}, {"type": "-pid"}, {"type": "ipc"}]}}
    )
    assert (made.namespaces.network, made.namespaces.pid, made.namespaces.ipc) == ("/n2", "host", "")


@pytest.mark.parametrize(
    "wanted",
    [
        {"linux": {"namespaces": [{"type": "-mount"}]}},
        {"linux": {"cgroupsPath": "relative"}},
        {"linux": {"resources": {"blockioClass": {"value": "gold"}}}},
        {"hooks": {"prestart": [{"path": "relative"}]}},
    ],
)
def test_what_cannot_be_is_refused(wanted: dict[str, object]) -> None:
    with pytest.raises(BadAdjustment):
        _made(wanted)


def test_a_cdi_device_that_nobody_describes_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"vendor\.com/class=device"):
        _made({"CDIDevices": [{"name": "vendor.com/class=device"}]})


def test_parts_are_laid_over_a_config_mappings_into_mappings_and_lists_behind_lists() -> None:
    config: dict[str, object] = {"a": {"b": 1, "c": [1]}, "d": 1}
    lay(config, {"a": {"b": 2, "c": [2], "e": {}}, "d": {"f": 1}})
    assert config == {"a": {"b": 2, "c": [1, 2], "e": {}}, "d": {"f": 1}}
