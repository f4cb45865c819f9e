"""Pods in user namespaces: whose namespaces, files and mounts theirs are, and that nothing of them stays."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orlop.kit.errors import InvalidInput, NotFound, Unsupported
from orlop.kit.node import Node
from orlop.pod import user_namespace
from orlop.pod.context import Pods
from orlop.pod.copy import copy_in, copy_out
from orlop.pod.create_container import create_container
from orlop.pod.exec_container import exec_sync
from orlop.pod.model import SandboxConfig
from orlop.pod.recover import recover
from orlop.pod.remove_container import remove_container
from orlop.pod.run_sandbox import run_sandbox
from orlop.pod.start_container import start_container
from orlop.pod.stop_container import stop_container
from orlop.pod.stop_sandbox import stop_sandbox
from orlop.runtime.model import IDMapping, Mount, Security
from tests.pod.make import eventually, pod, sleeper, started
from tests.support.node import mounts_below, opened, temporary_node

BASE = 0x20000
USERS = (IDMapping(BASE, 0, 65536),)


def mapped(**changes: Any) -> SandboxConfig:
    return replace(pod(), uid_mappings=USERS, gid_mappings=USERS, **changes)


def asked(pods: Pods, container_id: str, script: str) -> str:
    """What a line of shell says in the container, whatever it exits with."""
    return exec_sync(pods, container_id, ("sh", "-c", f"exec 2>&1; {script}")).stdout.decode()


def owners(text: str) -> dict[str, str]:
    """Name -> "uid gid", from `stat -c '%u %g %n'`."""
    lines = (line.split(" ", 2) for line in text.splitlines())
    return {name: f"{uid} {gid}" for uid, gid, name in lines}


@pytest.mark.host
@pytest.mark.parametrize("runtime", ["crun", "runc"])
def test_root_in_the_pod_is_nobody_on_the_machine(runtime: str) -> None:
    with temporary_node(config=f'[runtime]\npath = "{runtime}"\n') as node, opened(node) as pods:
        container = started(pods, sleeper(), run_sandbox(pods, mapped(shared_pid=True)))
        eventually(lambda: b"sleep" in Path(f"/proc/{container.pid}/cmdline").read_bytes())
        status = Path(f"/proc/{container.pid}/status").read_text()
        assert f"Uid:\t{BASE}\t{BASE}" in status
        assert asked(pods, container.id, "id -u; cat /proc/self/uid_map").split() == [
            "0", "0", str(BASE), "65536",
        ]  # fmt: skip


@pytest.mark.host
def test_its_files_and_what_its_namespaces_own_are_its_roots(pods: Pods) -> None:
    container = started(pods, sleeper(working_dir="/made/here"), run_sandbox(pods, mapped()))
    places = "/ /bin/busybox /made/here /etc/hosts /etc/resolv.conf /dev/shm /dev/mqueue /sys/class/net/lo/"
    found = owners(asked(pods, container.id, f"stat -c '%u %g %n' {places}"))
    assert found == dict.fromkeys(places.split(), "0 0")


@pytest.mark.host
def test_what_it_writes_is_its_users_on_the_disk_and_goes_with_it(node: Node, pods: Pods) -> None:
    container = started(pods, sleeper(), run_sandbox(pods, mapped()))
    assert asked(pods, container.id, "echo x >> /etc/hosts; touch /etc/a; chown 5:6 /etc/a; rm /bin/ls") == ""
    upper = Path(node.in_root("rootfs", container.id, "upper"))
    written = (upper / "etc/a").stat()
    assert (written.st_uid, written.st_gid) == (BASE + 5, BASE + 6)
    remove_container(pods, container.id, force=True)
    assert not upper.exists()
    assert not [point for point in mounts_below(node) if container.id in point]
    assert not os.path.exists(node.in_state("mapped", container.id))


@pytest.mark.host
def test_a_volume_with_the_pods_mappings_keeps_the_machines_owners(node: Node, pods: Pods) -> None:
    volume = Path(node.in_root("volume"))
    volume.mkdir(mode=0o700)
    (volume / "file").write_text("text")
    os.chown(volume / "file", 7, 7)
    mounts = (
        Mount("/mapped", str(volume), uid_mappings=USERS, gid_mappings=USERS),
        Mount("/plain", str(volume)),
    )
    container = started(pods, sleeper(mounts=mounts), run_sandbox(pods, mapped()))
    found = owners(asked(pods, container.id, "touch /mapped/new; stat -c '%u %g %n' /mapped /mapped/file"))
    assert found == {"/mapped": "0 0", "/mapped/file": "7 7"}
    assert (volume / "new").stat().st_uid == 0
    assert "Permission denied" in asked(pods, container.id, "ls /plain")
    remove_container(pods, container.id, force=True)
    assert not [point for point in mounts_below(node) if container.id in point]


@pytest.mark.host
def test_an_image_volume_and_a_tmpfs_are_its_roots(pods: Pods) -> None:
    mounts = (
        Mount("/img", image="busybox", read_only=True, uid_mappings=USERS, gid_mappings=USERS),
        Mount("/scratch"),
    )
    container = started(pods, sleeper(mounts=mounts), run_sandbox(pods, mapped()))
    found = asked(pods, container.id, "touch /scratch/f; stat -c '%u %g %n' /img/bin/busybox /scratch/f")
    assert owners(found) == {"/img/bin/busybox": "0 0", "/scratch/f": "0 0"}


@pytest.mark.host
def test_its_root_may_change_its_network_and_nothing_of_the_machines(pods: Pods) -> None:
    security = Security(add_capabilities=("NET_ADMIN", "SYS_ADMIN", "SYS_TIME"))
    container = started(pods, sleeper(security=security), run_sandbox(pods, mapped()))
    said = asked(
        pods,
        container.id,
        "hostname other && hostname; ip link set lo down && echo down; date -s 200001010000",
    )
    assert "other\n" in said
    assert "down\n" in said
    assert "Operation not permitted" in said


@pytest.mark.host
def test_sysctls_of_both_kinds_are_set(pods: Pods) -> None:
    sysctls = {"kernel.msgmax": "9000", "net.ipv4.ip_unprivileged_port_start": "80"}
    container = started(pods, sleeper(), run_sandbox(pods, mapped(sysctls=sysctls)))
    paths = " ".join(f"/proc/sys/{name.replace('.', '/')}" for name in sysctls)
    assert asked(pods, container.id, f"cat {paths}").split() == ["9000", "80"]


@pytest.mark.host
def test_a_sysctl_that_the_kernel_refuses_leaves_nothing(node: Node, pods: Pods) -> None:
    with pytest.raises(Unsupported, match="msgmax"):
        run_sandbox(pods, mapped(sysctls={"kernel.msgmax": "many"}))
    assert pods.sandboxes() == []
    assert not [point for point in mounts_below(node) if "/namespaces/" in point]


@pytest.mark.host
def test_it_has_addresses_and_a_second_container_joins_it(pods: Pods) -> None:
    made = run_sandbox(pods, mapped(network="pod"))
    first = started(pods, sleeper("one"), made)
    second = start_container(pods, create_container(pods, made.id, sleeper("two")).id)
    assert made.addresses.ips[0] in asked(pods, first.id, "ip addr")
    kinds = ("user", "net", "ipc", "uts")
    assert [os.readlink(f"/proc/{first.pid}/ns/{kind}") for kind in kinds] == [
        os.readlink(f"/proc/{second.pid}/ns/{kind}") for kind in kinds
    ]
    stop_sandbox(pods, made.id, 0)
    assert pods.sandbox(made.id).state == "notready"


_KILLED = """
import os, sys
sys.path.insert(0, os.getcwd())
from orlop.kit.config import Config
from orlop.kit.node import Node
from orlop.pod.context import Pods
from orlop.runtime.engine import Engine
from orlop.store import overlay
from tests.pod.test_userns import *

place, *folders = sys.argv[1:]
node = Node(*folders)
pods = Pods(node, Config.load(node))

def die(*args, **options):
    os.kill(os.getpid(), signal.SIGKILL)

made = run_sandbox(pods, mapped())
volume = node.in_root("volume")
os.makedirs(volume, exist_ok=True)
mounts = (
    Mount("/v", volume, uid_mappings=USERS, gid_mappings=USERS),
    Mount("/i", image="busybox", read_only=True),
)
if place == "layers":
    overlay.mount_overlay = die
elif place == "created":
    Engine.start = die
else:
    from orlop.runtime import conmon
    conmon.Begun.create = die
container = create_container(pods, made.id, sleeper(mounts=mounts))
start_container(pods, container.id)
"""


@pytest.mark.host
@pytest.mark.parametrize("place", ["layers", "conmon", "created"])
def test_a_kill_at_any_mount_of_it_leaves_nothing_after_recovery(node: Node, place: str) -> None:
    argv = [sys.executable, "-c", _KILLED, place, node.root, node.state, node.config]
    killed = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert [point for point in mounts_below(node) if "/mapped/" in point]
    with opened(node) as pods:
        recover(pods)
        for container in pods.containers():
            remove_container(pods, container.id, force=True)
        points = mounts_below(node)
    assert not [point for point in points if any(f"/{f}/" in point for f in ("mapped", "bundles", "volumes"))]


@pytest.mark.host
def test_files_are_copied_in_as_its_roots_and_out_after_its_end(pods: Pods, tmp_path: Path) -> None:
    container = started(pods, sleeper(), run_sandbox(pods, mapped()))
    (tmp_path / "in").write_text("text")
    copy_in(pods, container.id, str(tmp_path / "in"), "/copied")
    assert asked(pods, container.id, "stat -c %u:%g /copied") == "0:0\n"
    stop_container(pods, container.id, 0)
    copy_out(pods, container.id, "/copied", str(tmp_path / "out"))
    assert (tmp_path / "out").read_text() == "text"


@pytest.mark.host
def test_mappings_of_a_mount_that_are_not_the_pods_are_refused(node: Node, pods: Pods) -> None:
    other = (IDMapping(BASE + 65536, 0, 65536),)
    mount = Mount("/v", node.root, uid_mappings=other, gid_mappings=other)
    with pytest.raises(Unsupported, match="user namespace"):
        create_container(pods, run_sandbox(pods, mapped()).id, sleeper(mounts=(mount,)))


@pytest.mark.host
def test_an_absent_source_of_a_mapped_mount_is_said_so(pods: Pods) -> None:
    mount = Mount("/v", "/no/such/folder", uid_mappings=USERS, gid_mappings=USERS)
    with pytest.raises(NotFound, match="no/such"):
        create_container(pods, run_sandbox(pods, mapped()).id, sleeper(mounts=(mount,)))


@pytest.mark.parametrize("change", [{"network": "host"}, {"host_ipc": True}, {"host_pid": True}])
def test_namespaces_of_the_machine_are_not_for_it(change: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match="the host's"):
        user_namespace.validate(mapped(**change))


@pytest.mark.parametrize(
    "mappings",
    [
        (),
        (IDMapping(BASE, 1, 10),),  # no root
        (IDMapping(0, 0, 10),),  # the machine's root in it
        (IDMapping(BASE, 0, 0),),
        (IDMapping(BASE, 0, 2**32),),  # CVE-2024-40635's class: IDs that overflow
        (IDMapping(2**32 - 5, 0, 10),),
        (IDMapping(-1, 0, 10),),
        (IDMapping(BASE, 0, 10), IDMapping(BASE + 9, 10, 10)),
        (IDMapping(BASE, 0, 10), IDMapping(BASE + 100, 9, 10)),
        tuple(IDMapping(BASE + 2 * i, 2 * i, 1) for i in range(341)),
    ],
)
def test_mappings_that_are_no_user_namespace_are_refused(mappings: tuple[IDMapping, ...]) -> None:
    with pytest.raises(InvalidInput):
        user_namespace.validate(replace(mapped(), uid_mappings=mappings))
