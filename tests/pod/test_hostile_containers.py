"""Images and requests that mean harm, a test for each class of advisory of CRI-O, containerd and runc.

Elsewhere: CVE-2024-5154 of image volumes in test_image_volumes, CVE-2021-30465 in test_mounts, CVE-2022-27652
and CVE-2025-0750 in test_security_context, archives in tests/store/test_hostile.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orlop.kit.errors import InvalidInput, LimitExceeded, OrlopError
from orlop.kit.node import Node
from orlop.pod.context import Pods
from orlop.pod.create_container import create_container
from orlop.pod.exec_container import exec_sync
from orlop.pod.model import Container
from orlop.pod.run_sandbox import run_sandbox
from orlop.runtime.model import IDMapping, Security
from tests.pod.make import eventually, pod, sleeper, started
from tests.support.images import Entry, Layer, folder, symlink, tar
from tests.support.node import BUSYBOX, busybox, opened, temporary_node

pytestmark = pytest.mark.host
RUNTIMES = pytest.mark.parametrize("runtime", ["crun", "runc"])


@contextmanager
def hostile(
    *entries: Entry, config: Mapping[str, Any] | None = None, runtime: str = "crun"
) -> Iterator[tuple[Node, Pods]]:
    """A node whose busybox image has these files and this configuration on top."""
    base = busybox()
    image = replace(
        base,
        layers=(*base.layers, Layer(tar(entries), "")) if entries else base.layers,
        config={**base.config, **(config or {})},
    )
    with (
        temporary_node(images={BUSYBOX: image}, config=f'[runtime]\npath = "{runtime}"\n') as node,
        opened(node) as pods,
    ):
        yield node, pods


def run(pods: Pods, **changes: Any) -> Container:
    return started(pods, sleeper(**changes), run_sandbox(pods, pod()))


def asked(pods: Pods, container: Container, script: str) -> str:
    return exec_sync(pods, container.id, ("sh", "-c", f"exec 2>&1; {script}")).stdout.decode()


def below(path: Path) -> list[Entry]:
    """The folders of the machine's `path`, as an image would have them."""
    return [folder(str(part)[1:]) for part in (*reversed(path.parents[:-1]), path)]


# What is read and made in an image's root


@pytest.mark.parametrize("read_only", [False, True])
def test_volumes_of_an_image_show_nothing_of_the_machine_cve_2022_23648(
    tmp_path: Path, read_only: bool
) -> None:
    (tmp_path / "secret").touch()
    ways = [
        *below(tmp_path),
        symlink("way", str(tmp_path)),
        symlink("up", "../../../../../.." + str(tmp_path)),
    ]
    volumes: dict[str, Any] = {f"/{name}": {} for name in ("way", "up")} | {f"/../../../../..{tmp_path}": {}}
    with hostile(*ways, config={"Volumes": volumes}) as (_, pods):
        container = run(pods, security=Security(read_only_root=read_only))
        assert "secret" not in asked(pods, container, f"ls -a /way /up {tmp_path}")
    assert os.listdir(tmp_path) == ["secret"]


@RUNTIMES
def test_files_that_we_mount_follow_no_link_out_of_the_image_cve_2024_5154(
    tmp_path: Path, runtime: str
) -> None:
    links = [symlink(f"etc/{name}", f"{tmp_path}/{name}") for name in ("hosts", "resolv.conf", "hostname")]
    links += [symlink("etc/mtab", f"{tmp_path}/mtab")]
    files = [Entry(f"{str(tmp_path)[1:]}/{name}", b"") for name in ("hosts", "resolv.conf", "hostname")]
    with hostile(*below(tmp_path), *files, *links, runtime=runtime) as (_, pods):
        assert "localhost" in asked(pods, run(pods), "cat /etc/hosts")
    assert os.listdir(tmp_path) == []


def test_a_working_folder_is_made_in_the_image_only(tmp_path: Path) -> None:
    with hostile(*below(tmp_path), symlink("way", str(tmp_path))) as (_, pods):
        container = run(pods, working_dir="/way/made")
        assert asked(pods, container, "pwd -P") == f"{tmp_path}/made\n"
    assert os.listdir(tmp_path) == []


# Who the image says that somebody is


def test_users_are_read_in_the_image_only_cve_2026_15809(tmp_path: Path) -> None:
    (tmp_path / "passwd").write_text("eve:x:0:0::/root:/bin/sh\n")
    for target in (
        f"{tmp_path}/passwd",
        f"../../../../../../..{tmp_path}/passwd",
        "/proc/self/root/etc/passwd",
    ):
        with hostile(symlink("etc/passwd", target)) as (_, pods), pytest.raises(OrlopError):
            run(pods, security=Security(user="eve"))


def test_a_list_of_users_without_end_is_refused_cve_2024_9676() -> None:
    endless = Entry("etc/passwd", b"a:x:5:5::/:/bin/sh\n" * 200_000)
    with hostile(endless) as (_, pods), pytest.raises(LimitExceeded, match="passwd"):
        run(pods, security=Security(user="eve"))


def test_a_home_brings_no_other_variable() -> None:
    lines = b"ada:x:5:5::/home\x0bLD_PRELOAD=/evil.so:/bin/sh\n"
    with hostile(Entry("etc/passwd", lines)) as (_, pods):
        container = run(pods, security=Security(user="ada"))
        eventually(lambda: b"sleep" in Path(f"/proc/{container.pid}/cmdline").read_bytes())
        environment = Path(f"/proc/{container.pid}/environ").read_bytes().split(b"\0")
        assert not [entry for entry in environment if b"LD_PRELOAD" in entry]
        assert b"HOME=/" in environment


@pytest.mark.parametrize("user", ["4294967296", "2147483648:0", "0:4294967296", "-1", "18446744073709551616"])
def test_an_id_that_overflows_makes_nobody_root_cve_2024_40635(user: str) -> None:
    with hostile(config={"User": user}) as (_, pods), pytest.raises(InvalidInput, match=r"range|negative"):
        run(pods)


def test_a_user_who_is_called_a_number_is_not_that_user() -> None:
    with hostile(Entry("etc/passwd", b"1000:x:0:0::/root:/bin/sh\n")) as (_, pods):
        assert run(pods, security=Security(user="1000")).uid == 1000


# What would be orders


@pytest.mark.parametrize(
    "value", ["1+kernel.core_pattern=|/evil", "1\nkernel.core_pattern=|/evil", "1=2", "1\0"]
)
def test_a_value_of_a_sysctl_is_one_value_cve_2022_0811(value: str) -> None:
    with hostile() as (_, pods), pytest.raises(InvalidInput, match="sysctl"):
        run_sandbox(pods, pod(sysctls={"kernel.shm_rmid_forced": value}))


ORDERS = (
    "org.systemd.property.ExecStartPre",
    "run.oci.handler",
    "run.oci.hooks.stdout",
    "org.criu.config",
    "Run.OCI.keep_original_groups",
)


@pytest.mark.parametrize("key", ORDERS)
def test_annotations_of_a_container_give_no_orders_cve_2024_3154(key: str) -> None:
    with hostile() as (_, pods), pytest.raises(InvalidInput, match="orders"):
        run(pods, annotations={key: "1"})


@RUNTIMES
def test_annotations_of_a_pod_and_labels_of_an_image_reach_no_runtime_cve_2024_3154_2026_53488(
    runtime: str,
) -> None:
    orders = dict.fromkeys(ORDERS, "injected")
    labels = {**orders, "io.kubernetes.container.name": "injected", "annotations": "injected"}
    with hostile(config={"Labels": labels}, runtime=runtime) as (_, pods):
        made = run_sandbox(pods, pod(annotations=orders, labels=orders, shared_pid=True))
        container = started(pods, sleeper(labels=orders), made)
        for identifier in (container.id, made.id):
            assert "injected" not in Path(pods.bundle(identifier), "config.json").read_text()


# What the machine shows to others


def test_folders_let_nobody_in_cve_2024_25621(node: Node, pods: Pods) -> None:
    users = (IDMapping(0x20000, 0, 65536),)
    plain = run(pods)
    mapped = started(
        pods, sleeper(), run_sandbox(pods, replace(pod(), uid_mappings=users, gid_mappings=users))
    )
    for path in (
        node.root,
        node.in_state("mounts"),
        node.in_state("namespaces"),
        node.in_state("exits"),
        node.in_state("locks"),
        node.in_state("mapped", mapped.id),
        pods.bundle(plain.id),
        node.in_state("namespaces", plain.sandbox_id, "etc"),
    ):
        assert stat.S_IMODE(os.stat(path).st_mode) & 0o007 == 0, path
    assert stat.S_IMODE(os.stat(node.in_state("mapped")).st_mode) == 0o711


@RUNTIMES
@pytest.mark.parametrize("number", [3, 6, 7, 8, 9])
def test_no_descriptor_of_the_machine_is_a_working_folder_cve_2024_21626(runtime: str, number: int) -> None:
    with hostile(config={"WorkingDir": f"/proc/self/fd/{number}"}, runtime=runtime) as (_, pods):
        try:
            container = run(pods)
        except OrlopError:
            return  # refused: as well
        above, root = asked(pods, container, "stat -c %d:%i ../../../../../../../../.. /").split()
        assert above == root


@RUNTIMES
def test_a_container_inherits_no_descriptors_cve_2024_21626(runtime: str) -> None:
    with hostile(runtime=runtime) as (_, pods):
        container = run(pods)
        eventually(lambda: b"sleep" in Path(f"/proc/{container.pid}/cmdline").read_bytes())
        assert sorted(os.listdir(f"/proc/{container.pid}/fd"))[:3] == ["0", "1", "2"]
        links = {
            os.readlink(f"/proc/{container.pid}/fd/{fd}") for fd in os.listdir(f"/proc/{container.pid}/fd")
        }
        assert not [link for link in links if link.startswith("/") and link != "/dev/null"]
        assert asked(pods, container, "ls /proc/self/fd | tail -n +5") == ""


@RUNTIMES
def test_what_is_masked_stays_so_cve_2025_31133_52565_52881(runtime: str) -> None:
    """The races themselves are the runtime's; links of the image in their place are not followed."""
    links = [symlink("dev", "/etc"), symlink("sys", "/etc")]
    with hostile(runtime=runtime) as (_, pods):
        container = run(pods)
        assert (
            asked(pods, container, "cat /proc/keys /proc/timer_list /proc/interrupts; ls /sys/firmware") == ""
        )
        assert "Read-only" in asked(pods, container, "echo x > /proc/sys/kernel/core_pattern")
    with hostile(*links, runtime=runtime) as (_, pods):
        try:
            container = run(pods)
        except OrlopError:
            return
        assert asked(pods, container, "cat /proc/keys; ls /sys/firmware") == ""


@RUNTIMES
def test_proc_that_is_a_link_is_not_mounted_elsewhere_cve_2019_16884(tmp_path: Path, runtime: str) -> None:
    with hostile(*below(tmp_path), symlink("proc", str(tmp_path)), runtime=runtime) as (_, pods):
        made = run_sandbox(pods, pod())
        try:
            container = started(pods, sleeper(), made)
        except OrlopError:
            assert pods.containers() == []
        else:
            assert "/proc/sys ro" in asked(pods, container, "cut -d' ' -f5,6 /proc/self/mountinfo")
    assert os.listdir(tmp_path) == []


def test_a_name_of_a_container_is_a_name(pods: Pods) -> None:
    made = run_sandbox(pods, pod())
    for name in ("", "../x", "a/b", "a\nb", "x" * 300):
        with pytest.raises(InvalidInput):
            create_container(pods, made.id, sleeper(name))
