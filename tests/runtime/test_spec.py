"""config.json, without a runtime: what goes in, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from orlop.kit.errors import InvalidInput, LimitExceeded, NotFound, OrlopError
from orlop.runtime import sysctls, users
from orlop.runtime.features import Features, newest_common
from orlop.runtime.model import ContainerSpec, Mount, Namespaces, Process, Resources, Security
from orlop.runtime.rights import CAPABILITIES, Rights
from orlop.runtime.spec import capabilities, linux, resources, seccomp
from orlop.runtime.spec.build import Machine, config

ALL = Rights(frozenset(CAPABILITIES), 0)


def machine(tmp_path: Path, *, name: str = "runc", rights: Rights = ALL, unified: bool = False) -> Machine:
    runtime = Features("/usr/bin/" + name, name, "1.0.0", frozenset(), False)
    return Machine(runtime, rights, unified, str(tmp_path / "cache"))


def built(tmp_path: Path, *, on: Machine | None = None, **values: Any) -> dict[str, Any]:
    values.setdefault("process", Process(args=("true",)))
    root = tmp_path / "root"
    root.mkdir(exist_ok=True)
    spec = ContainerSpec(id="ab" * 32, root=str(root), cgroup="/orlop/pod/c", **values)
    found = json.loads(config(spec, on or machine(tmp_path), {}))
    assert isinstance(found, dict)
    return found


def test_default_capabilities_have_no_inheritable_ones(tmp_path: Path) -> None:
    sets = built(tmp_path)["process"]["capabilities"]
    assert sorted(sets["effective"]) == sorted(f"CAP_{name}" for name in capabilities.DEFAULT)
    assert sets["inheritable"] == sets["ambient"] == []


@pytest.mark.parametrize(
    ("add", "drop", "expected"),
    [
        ((), ("ALL",), set()),
        (("net_admin",), ("ALL",), {"NET_ADMIN"}),
        (("CAP_SYS_TIME",), ("KILL",), {*capabilities.DEFAULT, "SYS_TIME"} - {"KILL"}),
        (("ALL",), ("CAP_CHOWN",), set(CAPABILITIES) - {"CHOWN"}),
    ],
)
def test_capabilities_are_added_and_dropped(
    add: tuple[str, ...], drop: tuple[str, ...], expected: set[str]
) -> None:
    security = Security(add_capabilities=add, drop_capabilities=drop)
    assert set(capabilities.effective(security, ALL)) == expected


def test_an_unknown_capability_is_refused() -> None:
    with pytest.raises(InvalidInput):
        capabilities.effective(Security(add_capabilities=("FLY",)), ALL)


def test_what_this_process_lacks_is_left_out_and_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    poor = Rights(frozenset({"CHOWN"}), 5, str(tmp_path / "notes"))
    for _ in range(3):
        assert capabilities.effective(Security(), poor) == ["CHOWN"]
        assert poor.oom_score(-500) == 5
    assert poor.oom_score(500) == 500
    assert len(caplog.records) == 2


def test_privileged_is_unconfined(tmp_path: Path) -> None:
    found = built(tmp_path, security=Security(privileged=True))
    assert "seccomp" not in found["linux"]
    assert "maskedPaths" not in found["linux"]
    assert found["linux"]["resources"]["devices"] == [{"allow": True, "access": "rwm"}]
    options = {mount["destination"]: mount["options"] for mount in found["mounts"]}
    assert "rw" in options["/sys"]
    assert "rw" in options["/sys/fs/cgroup"]


def test_the_default_profile_opens_with_capabilities() -> None:
    plain = seccomp.default_profile("x86_64", frozenset())
    admin = seccomp.default_profile("x86_64", frozenset({"SYS_ADMIN"}))

    def rules(profile: Any, action: str) -> set[str]:
        return {n for rule in profile["syscalls"] if rule["action"] == action for n in rule["names"]}

    assert "mount" in rules(plain, "SCMP_ACT_ERRNO")
    assert "mount" in rules(admin, "SCMP_ACT_ALLOW")
    assert {"clone", "personality", "socket", "read"} <= rules(plain, "SCMP_ACT_ALLOW")
    assert {"clone3", "keyctl", "io_uring_setup", "unshare"} <= rules(plain, "SCMP_ACT_ERRNO")
    assert not rules(plain, "SCMP_ACT_ALLOW") & rules(plain, "SCMP_ACT_ERRNO")
    arm: Any = seccomp.default_profile("aarch64", frozenset())
    assert arm["architectures"] == ["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"]


def test_the_profile_is_kept_and_a_damaged_copy_is_made_again(tmp_path: Path) -> None:
    first = built(tmp_path)["linux"]["seccomp"]
    kept = list((tmp_path / "cache").glob("*.json"))
    assert len(kept) == 1
    kept[0].write_text('{"defaultAction": "SCMP_ACT_ALLOW"')
    assert built(tmp_path)["linux"]["seccomp"] == first


def test_only_crun_gets_a_finished_filter(tmp_path: Path) -> None:
    assert built(tmp_path)["annotations"] == {}
    given = built(tmp_path, on=machine(tmp_path, name="crun"))
    assert len(given["annotations"].get("run.oci.seccomp_bpf_data", "x" * 1000)) >= 1000
    assert given["linux"]["seccomp"]["syscalls"]
    loose = built(tmp_path, on=machine(tmp_path, name="crun"), security=Security(seccomp="unconfined"))
    assert loose["annotations"] == {}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/run/x"}',
        '{"defaultAction": "SCMP_ACT_NOTIFY"}',
        '{"syscalls": []}',
        '{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": "read", "action": "SCMP_ACT_ALLOW"}]}',
        "[" * 100_000,
    ],
)
def test_a_bad_profile_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "profile").write_text(text)
    with pytest.raises(InvalidInput):
        built(tmp_path, security=Security(seccomp=str(tmp_path / "profile")))
    with pytest.raises(NotFound):
        built(tmp_path, security=Security(seccomp=str(tmp_path / "nowhere")))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("kernel.core_pattern", "|/x"),
        ("kernel.shm_rmid_forced", "1+kernel.core_pattern=|/x"),
        ("net.ipv4.ip_forward", "1\nkernel.core_pattern=x"),
        ("net..x", "1"),
        ("net.ipv4/../../kernel.x", "1"),
        ("kernel.hostname", "x"),
        ("", "1"),
        ("kernel.shm+x", "1"),
    ],
)
def test_a_sysctl_that_reaches_the_machine_is_refused(name: str, value: str) -> None:
    with pytest.raises(InvalidInput):
        sysctls.validate({name: value}, host_network=False, host_ipc=False)


def test_sysctls_of_namespaces_are_taken_unless_the_namespace_is_the_hosts() -> None:
    asked = {"net/core/somaxconn": "9", "kernel.sem": "1 2 3 4", "fs.mqueue.msg_max": "5"}
    taken = sysctls.validate(asked, host_network=False, host_ipc=False)
    assert taken["net.core.somaxconn"] == "9"
    with pytest.raises(InvalidInput):
        sysctls.validate({"net.core.somaxconn": "9"}, host_network=True, host_ipc=False)
    with pytest.raises(InvalidInput):
        sysctls.validate({"kernel.sem": "1"}, host_network=False, host_ipc=True)


@pytest.mark.parametrize(
    "values",
    [
        {"annotations": {"org.systemd.property.ExecStart": "x"}},
        {"annotations": {"run.oci.handler": "x"}},
        {"annotations": {"a b": "x"}},
        {"process": Process(args=())},
        {"process": Process(args=("a\0b",))},
        {"process": Process(args=("true",), env=("=x",))},
        {"process": Process(args=("true",), env=("x",))},
        {"process": Process(args=("true",), cwd="tmp")},
        {"mounts": (Mount("relative", "/tmp"),)},
        {"mounts": (Mount("/a/../../b", "/tmp"),)},
        {"mounts": (Mount("/", "/tmp"),)},
        {"mounts": (Mount("/a", "/nowhere/at/all"),)},
        {"mounts": (Mount("/a", "/tmp", propagation="odd"),)},
        {"mounts": (Mount("/a", "/tmp", options=("a,b",)),)},
        {"namespaces": Namespaces(network="strange")},
        {"resources": Resources(memory_limit=-2)},
        {"resources": Resources(unified={"cgroup.procs": "1"})},
        {"resources": Resources(unified={"../memory.max": "1"})},
        {"resources": Resources(cpuset_mems="all")},
        {"resources": Resources(oom_score_adj=5000)},
        {"rlimits": {"RLIMIT_ODD": (1, 1)}},
        {"security": Security(masked_paths=("x",))},
    ],
)
def test_what_cannot_be_is_refused_with_a_hint(tmp_path: Path, values: dict[str, Any]) -> None:
    with pytest.raises(OrlopError) as caught:
        built(tmp_path, **values)
    assert caught.value.hint


def test_environment_has_what_programs_expect(tmp_path: Path) -> None:
    asked = Process(args=("true",), env=("A=1", "A=2", "E="), terminal=True)
    env = built(tmp_path, process=asked, hostname="box")["process"]["env"]
    assert "A=2" in env
    assert "A=1" not in env
    assert {"E=", "TERM=xterm", "HOSTNAME=box", "HOME=/"} <= set(env)
    assert any(entry.startswith("PATH=/") for entry in env)


def test_shallow_mounts_come_first_and_replace_defaults(tmp_path: Path) -> None:
    mounts = (Mount("/a/b", "/tmp"), Mount("/a", "/tmp"), Mount("/dev/shm", "/tmp"))
    listed = [mount["destination"] for mount in built(tmp_path, mounts=mounts)["mounts"]]
    assert listed.index("/a") < listed.index("/a/b")
    assert listed.count("/dev/shm") == 1


def test_namespaces_are_joined_made_or_shared(tmp_path: Path) -> None:
    asked = Namespaces(network="/run/net", ipc="host", pid="")
    listed = built(tmp_path, namespaces=asked)["linux"]["namespaces"]
    assert {"type": "network", "path": "/run/net"} in listed
    assert {"type": "pid"} in listed
    assert not [entry for entry in listed if entry["type"] in ("ipc", "cgroup")]
    unified = built(tmp_path, on=machine(tmp_path, unified=True))["linux"]["namespaces"]
    assert {"type": "cgroup"} in unified


def test_limits_are_counted_as_kubernetes_does() -> None:
    asked = Resources(
        cpu_request=500, cpu_limit=250, memory_limit=1 << 20, pids=7, hugepages={"2MB": 4 << 20}
    )
    part: Any = resources.limited(asked, swap=True)
    assert part["cpu"] == {"shares": 512, "quota": 25_000, "period": 100_000}
    assert part["memory"] == {"limit": 1 << 20, "swap": 1 << 20}
    assert part["pids"] == {"limit": 7}
    assert part["hugepageLimits"] == [{"pageSize": "2MB", "limit": 4 << 20}]
    assert "swap" not in resources.limited(asked, swap=False)["memory"]  # type: ignore[operator]


def test_systemd_wants_slices() -> None:
    spec = ContainerSpec("ab" * 32, "/", Process(args=("x",)), "/orlop-1/pod2/cc")
    assert linux.cgroup_path(spec, systemd=True) == "orlop_1-pod2.slice:orlop:cc"
    assert linux.cgroup_path(spec, systemd=False) == "/orlop-1/pod2/cc"
    for bad in ("relative", "/a/../b", "/a//b", "/"):
        with pytest.raises(InvalidInput):
            linux.cgroup_path(ContainerSpec("x", "/", Process(args=("x",)), bad), systemd=False)


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [("1.0.0", "1.0.0"), ("1.0.2-dev", "1.0.1"), ("1.3.0", "1.2.0"), ("1.1.0+dev", "1.0.0"), ("", "1.0.0")],
)
def test_the_newest_common_specification_is_written(theirs: str, ours: str) -> None:
    assert newest_common(theirs) == ours


# Users


def image(tmp_path: Path, passwd: str = "", group: str = "") -> str:
    (tmp_path / "etc").mkdir(exist_ok=True)
    (tmp_path / "etc/passwd").write_text(passwd)
    (tmp_path / "etc/group").write_text(group)
    return str(tmp_path)


def test_names_and_numbers_are_looked_up(tmp_path: Path) -> None:
    root = image(tmp_path, "a:x:5:6::/home/a:/bin/sh\n", "g:x:9:a,b\nh:x:10:b\n")
    assert users.resolve(root, "a") == users.User(5, 6, (6, 9), "/home/a", "a")
    assert users.resolve(root, "5", (7,)).groups == (6, 7, 9)
    assert users.resolve(root, "a:h").gid == 10
    assert users.resolve(root, "77:88") == users.User(77, 88, (88,))
    assert users.resolve(root, "") == users.User(0, 0, (0,))


@pytest.mark.parametrize(
    ("policy", "user", "groups"),
    [
        ("merge", "a", (6, 7, 9)),
        ("merge", "a:h", (7, 9, 10)),
        ("strict", "a", (6, 7)),
        ("strict", "a:h", (7, 10)),
        ("image", "a", (6, 7, 9)),
        ("image", "a:h", (7, 10)),
    ],
)
def test_the_images_groups_come_as_the_policy_says_and_the_primary_one_always(
    tmp_path: Path, policy: str, user: str, groups: tuple[int, ...]
) -> None:
    root = image(tmp_path, "a:x:5:6::/home/a:/bin/sh\n", "g:x:9:a,b\nh:x:10:b\n")
    assert users.resolve(root, user, (7,), policy).groups == groups


def test_a_number_is_never_taken_for_a_name(tmp_path: Path) -> None:
    root = image(tmp_path, "1000:x:0:0::/root:/bin/sh\nreal:x:1000:1000::/home/real:/bin/sh\n")
    assert users.resolve(root, "1000") == users.User(1000, 1000, (1000,), "/home/real", "real")


@pytest.mark.parametrize(
    "who",
    ["nobody", "4294967296", "2147483648", "-1", "1:nogroup", "1:99999999999", "+1", "99999999999999999999"],
)
def test_unknown_users_and_numbers_out_of_range_are_refused(tmp_path: Path, who: str) -> None:
    with pytest.raises(InvalidInput):
        users.resolve(image(tmp_path, "root:x:0:0::/root:/bin/sh\n"), who)


def test_an_overflow_in_the_file_makes_nobody_root(tmp_path: Path) -> None:
    root = image(tmp_path, "a:x:4294967296:4294967296::/:/bin/sh\n")
    with pytest.raises(InvalidInput):
        users.resolve(root, "a")


def test_a_home_that_would_break_the_environment_is_not_used(tmp_path: Path) -> None:
    root = image(tmp_path, "a:x:5:6::/home\x07LD_PRELOAD=x:/bin/sh\nb:x:6:6::relative:/bin/sh\n")
    assert users.resolve(root, "a").home == "/"
    assert users.resolve(root, "b").home == "/"


def test_a_file_of_users_stays_in_its_image_and_has_an_end(tmp_path: Path) -> None:
    root = image(tmp_path)
    (tmp_path / "etc/passwd").unlink()
    (tmp_path / "etc/passwd").symlink_to("/../../../../../../etc/passwd")
    with pytest.raises(OrlopError):  # a link to itself, seen from inside
        users.resolve(root, "daemon")
    (tmp_path / "etc/passwd").unlink()
    (tmp_path / "etc/passwd").write_bytes(b"x" * (2 << 20))
    with pytest.raises(LimitExceeded):
        users.resolve(root, "1")
    (tmp_path / "etc/passwd").unlink()
    (tmp_path / "etc/passwd").mkdir()
    with pytest.raises(InvalidInput):
        users.resolve(root, "1")
