"""What an image says about itself is its author's: none of it breaks the daemon, a list, or the machine.

The images are put into the store, as a pull would leave them, and met through the socket.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest

from orlop.cri.proto import cri_pb2 as pb
from orlop.kit import limits
from orlop.runtime.spec.linux import MASKED, READ_ONLY
from tests.cri.requests import BUSYBOX, box, create, execute, refused, remove, run, start, status
from tests.support.cri import Client, daemon
from tests.support.images import Entry, Image, Layer, folder, symlink, tar
from tests.support.node import busybox, temporary_node

pytestmark = pytest.mark.host
_REFUSED = grpc.StatusCode.INVALID_ARGUMENT


def name(word: str) -> str:
    return f"docker.io/library/{word}:latest"


def made(*entries: Entry, **config: Any) -> Image:
    """busybox with these files and this configuration on top."""
    base = busybox()
    layers = (*base.layers, Layer(tar(entries), "")) if entries else base.layers
    return replace(base, layers=layers, config={**base.config, **config})


@contextmanager
def serving(images: Mapping[str, Image]) -> Iterator[Client]:
    """A daemon whose store has busybox and these. A traceback in its log fails the test."""
    stored = {BUSYBOX: busybox(), **{name(word): image for word, image in images.items()}}
    with temporary_node(images=stored) as node, daemon(node) as running, Client(running.socket) as client:
        yield client


def config_of(word: str, *, read_only: bool = False, command: tuple[str, ...] = ("sleep", "1000")) -> Any:
    config = box(image=pb.ImageSpec(image=name(word)))
    del config.command[:]
    config.command.extend(command)
    context = config.linux.security_context
    context.readonly_rootfs = read_only
    context.readonly_paths.extend(READ_ONLY)  # as the kubelet does: an empty list means that none are hidden
    context.masked_paths.extend(MASKED)
    return config


#: What a hostile author writes into an image's configuration, and a word of the refusal.
WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "long-folder": ({"WorkingDir": "/" + "a" * 300}, "too long"),
    "deep-folder": ({"WorkingDir": "/a" * 4000}, "too long"),
    "folder-below-a-file": ({"WorkingDir": "/etc/passwd/x"}, "not a folder"),
    "folder-no-text": ({"WorkingDir": "/\ud800"}, "no text"),
    "volume-nul": ({"Volumes": {"/a\0b": {}}}, "NUL"),
    "volume-long": ({"Volumes": {"/" + "b" * 300: {}}}, "too long"),
    "volume-no-text": ({"Volumes": {"/\udfff": {}}}, "no text"),
    "environment": ({"Env": ["=x"]}, "NAME=value"),
    "environment-nul": ({"Env": ["A=x\0LD_PRELOAD=/evil.so"]}, "NUL"),
    "user-huge": ({"User": "x" * 3_000_000}, "passwd"),
    "user-digits": ({"User": "9" * 5000}, "range"),
    "user-lines": ({"User": "root\nroot"}, "passwd"),
    "user-superscript": ({"User": "\N{SUPERSCRIPT TWO}"}, "passwd"),
    "signal": ({"StopSignal": "SIGTERM; reboot"}, "no such signal"),
    "signal-digits": ({"StopSignal": "9" * 100_000}, "no such signal"),
}


def test_a_configuration_that_cannot_be_is_refused_in_words_that_fit_cve_2022_1708() -> None:
    """Not by a crash, nor by a refusal of megabytes; and whatever they hold, images are still listed."""
    with serving({word: made(**config) for word, (config, _) in WRONG.items()}) as client:
        sandbox = run(client)
        for word, (_, said) in WRONG.items():
            with refused(_REFUSED, said):
                create(client, sandbox, config_of(word))
        remove(client, sandbox)
        images = client.ListImages(pb.ListImagesRequest())
        assert len(images.images) == len(WRONG) + 1
        assert images.ByteSize() < 64 * limits.KIB


@pytest.mark.parametrize("read_only", [False, True])
def test_volumes_of_an_image_do_not_replace_what_the_runtime_mounts_cve_2019_16884(read_only: bool) -> None:
    volumes: dict[str, Any] = {
        path: {} for path in ("/proc", "/sys", "/dev", "/proc/self", "/dev/shm", "//proc/", "/./sys")
    }
    with serving({"over": made(Volumes=volumes)}) as client:
        sandbox = run(client)
        identifier = start(client, create(client, sandbox, config_of("over", read_only=read_only)))
        mounted = execute(client, identifier, "cut -d' ' -f5,9 /proc/self/mountinfo; ls /dev/null /proc/1/ns")
        assert mounted.exit_code == 0, mounted.stderr
        places = mounted.stdout.decode().splitlines()
        for place, kind in (("/proc", "proc"), ("/sys", "sysfs")):
            assert any(line.startswith(place + " ") for line in places), kind
        assert b"cpu" in execute(client, identifier, "head -1 /proc/stat").stdout
        flags = execute(client, identifier, "cut -d' ' -f5,6 /proc/self/mountinfo").stdout.decode()
        assert "\n/proc/sys ro" in flags
        remove(client, sandbox)


def test_more_volumes_than_anybody_needs_are_refused() -> None:
    with serving({"many": made(Volumes={f"/v{number}": {} for number in range(5000)})}) as client:
        sandbox = run(client)
        with refused(grpc.StatusCode.RESOURCE_EXHAUSTED, "volumes"):
            create(client, sandbox, config_of("many"))
        remove(client, sandbox)


def test_labels_of_an_image_are_no_orders_and_cost_nothing_cve_2026_53488() -> None:
    orders = {f"run.oci.hooks.{number}": "x" * 100 for number in range(20_000)}
    image = made(Labels={**orders, "io.kubernetes.pod.namespace": "kube-system"}, Healthcheck={"Test": ["x"]})
    with serving({"labels": image}) as client:
        sandbox = run(client)
        identifier = create(client, sandbox, config_of("labels"))
        request = pb.ContainerStatusRequest(container_id=identifier, verbose=True)
        told = client.ContainerStatus(request)
        assert "run.oci.hooks" not in told.info["info"]
        assert not told.status.labels
        remove(client, sandbox)


@pytest.mark.parametrize("kind", ["fifo", "device", "folder", "link", "proc"])
def test_users_are_read_from_a_file_and_nothing_else_cve_2024_9676_2025_4437(kind: str) -> None:
    """A FIFO would block for ever, opening a device does something, a link leads to somebody's file."""
    odd = {
        "fifo": Entry("etc/passwd", type=tarfile.FIFOTYPE),
        "device": Entry("etc/passwd", type=tarfile.CHRTYPE, device=(1, 5)),
        "folder": folder("etc/passwd"),
        "link": symlink("etc/passwd", "/../../../../../../etc/passwd-of-nobody"),
        "proc": symlink("etc/passwd", "/proc/1/environ"),
    }[kind]
    with serving({"odd": made(odd)}) as client:
        sandbox = run(client)
        config = config_of("odd")
        config.linux.security_context.run_as_username = "www-data"
        with refused(_REFUSED):
            create(client, sandbox, config)
        remove(client, sandbox)


def test_a_home_with_a_line_end_is_no_home_cve_2022_4318() -> None:
    lines = b"eve:x:5:5::/home\\neve::0:0::/:/bin/sh:/bin/sh\nada:x:6:6::/a\x1b\x0bPATH=/evil:/bin/sh\n"
    with serving({"home": made(Entry("etc/passwd", lines))}) as client:
        sandbox = run(client)
        config = config_of("home")
        config.linux.security_context.run_as_username = "ada"
        identifier = start(client, create(client, sandbox, config))
        seen = execute(client, identifier, "cat /etc/passwd; echo HOME=$HOME PATH=$PATH").stdout
        assert seen.startswith(lines), "nobody wrote into the image's file"
        assert b"HOME=/ PATH=/usr" in seen
        remove(client, sandbox)


def test_the_runtime_cannot_be_written_by_what_it_starts_cve_2019_5736_2016_9962() -> None:
    """`/proc/self/exe` as the program is the runtime itself, for a moment."""
    program = shutil.which("crun")
    assert program
    before = hashlib.sha256(Path(program).read_bytes()).digest(), os.stat(program).st_mtime_ns
    evil = Entry("evil", b"#!/proc/self/exe\n", mode=0o755)
    with serving({"exe": made(evil)}) as client:
        sandbox = run(client)
        for command in (("/proc/self/exe",), ("/evil",)):
            config = config_of("exe", command=command)
            config.metadata.name = f"c{len(command[0])}"
            try:
                start(client, create(client, sandbox, config))
            except grpc.RpcError as error:
                assert error.code() != grpc.StatusCode.INTERNAL, error
        config = config_of("exe")
        config.metadata.name = "sleeps"
        identifier = start(client, create(client, sandbox, config))
        script = (
            "for n in 1 2 3 4 5 6 7 8; do for p in /proc/[0-9]*; do echo x > $p/exe; done; done 2>/dev/null"
        )
        execute(client, identifier, script)
        for program_ in ("/proc/self/exe", "/evil"):
            request = pb.ExecSyncRequest(container_id=identifier, cmd=[program_], timeout=5)
            try:
                assert client.ExecSync(request).exit_code != 0
            except grpc.RpcError as error:
                assert error.code() != grpc.StatusCode.INTERNAL, error
        assert status(client, identifier).state == pb.CONTAINER_RUNNING
        remove(client, sandbox)
    assert before == (hashlib.sha256(Path(program).read_bytes()).digest(), os.stat(program).st_mtime_ns)


def test_containers_of_one_image_do_not_share_their_environment_cve_2021_21334() -> None:
    with serving({"shared": made(Env=["WHOSE=image"])}) as client:
        sandbox = run(client)
        seen = []
        for who in ("a", "b", ""):
            config = config_of("shared")
            config.metadata.name = f"c{who}"
            if who:
                config.envs.add(key="WHOSE", value=who)
                config.envs.add(key=f"ONLY_{who}", value="1")
            identifier = start(client, create(client, sandbox, config))
            seen.append(execute(client, identifier, "echo $WHOSE $ONLY_a $ONLY_b").stdout.decode().strip())
        assert seen == ["a 1", "b 1", "image"]
        remove(client, sandbox)


def test_a_checkpoint_is_an_image_like_any_other_cve_2024_8676() -> None:
    """Its archive names mounts and commands of the machine; nothing is restored from an image."""
    words = {
        "io.kubernetes.cri-o.annotations.checkpoint.name": "x",
        "org.criu.checkpoint.container.name": "x",
    }
    archive = [
        Entry("spec.dump", b'{"mounts":[{"source":"/","destination":"/host"}]}'),
        Entry("config.dump", b"{}"),
    ]
    with serving({"checkpoint": made(*archive, Labels=words)}) as client:
        sandbox = run(client)
        identifier = start(client, create(client, sandbox, config_of("checkpoint")))
        assert execute(client, identifier, "test -e /host").exit_code == 1
        remove(client, sandbox)


def test_an_image_gains_no_rights_by_its_files_bits_cve_2022_29162_2022_27652() -> None:
    """A set-user-ID program is one for the container only: its bounding set stays, nothing is inheritable."""
    with serving({"bits": made()}) as client:
        sandbox = run(client)
        config = config_of("bits")
        config.linux.security_context.run_as_user.value = 1000
        identifier = start(client, create(client, sandbox, config))
        sets = execute(client, identifier, "grep ^Cap /proc/self/status").stdout.decode().split()
        assert dict(zip(sets[::2], sets[1::2], strict=True))["CapInh:"] == "0" * 16
        assert dict(zip(sets[::2], sets[1::2], strict=True))["CapEff:"] == "0" * 16
        remove(client, sandbox)


def test_stored_layers_are_for_root_alone_cve_2021_41103() -> None:
    """A set-user-ID program of an image is no way to root for the machine's users."""
    with temporary_node() as node:
        assert stat.S_IMODE(os.stat(node.root).st_mode) & 0o077 == 0
