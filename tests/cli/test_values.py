"""What people write behind the options of `run`."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orlop.cli.container import run_options, values
from orlop.cli.container.run import made_up_name
from orlop.cli.container.terminal import Detached, DetachKeys
from orlop.cli.parser import build
from orlop.kit.errors import InvalidInput
from orlop.network.model import PortMapping
from orlop.pod.model import ContainerConfig, SandboxConfig


def asked(*options: str) -> tuple[SandboxConfig, ContainerConfig]:
    arguments = build(("run",)).parse([*options, "busybox", "true"])
    return run_options.sandbox(arguments, "x"), run_options.container(arguments, "x", "busybox")


@pytest.mark.parametrize(
    ("text", "expected"),
    [("512m", 512 << 20), ("1.5g", 3 << 29), ("64MiB", 64 << 20), ("64mb", 64 << 20), ("7", 7), ("10b", 10)],
)
def test_sizes_are_read_in_powers_of_1024(text: str, expected: int) -> None:
    assert values.size("--memory", text) == expected


@pytest.mark.parametrize("text", ["", "m", "-1", "x", "1x", "nan", "inf", "1e999", "0x10"])
def test_what_is_no_size_is_refused_with_its_option(text: str) -> None:
    with pytest.raises(InvalidInput, match="--memory"):
        values.size("--memory", text)


@given(st.text(max_size=20))
def test_no_text_makes_a_reader_of_options_fall_over(text: str) -> None:
    for read in (values.cpus, values.ports, values.volume, values.tmpfs, values.device, values.host_alias):
        try:
            read(text)
        except InvalidInput as error:
            assert error.hint
    for named in (values.size, values.count, values.pair):
        try:
            named("--option", text)
        except InvalidInput as error:
            assert error.hint


def test_ports_take_addresses_ranges_and_protocols() -> None:
    assert values.ports("8080:80") == [PortMapping(8080, 80)]
    assert values.ports("127.0.0.1:53:53/udp") == [PortMapping(53, 53, "udp", "127.0.0.1")]
    assert values.ports("[::1]:80-81:90-91") == [
        PortMapping(80, 90, "tcp", "::1"),
        PortMapping(81, 91, "tcp", "::1"),
    ]
    (free,) = values.ports("80")
    assert free.container_port == 80
    assert free.host_port > 0


@pytest.mark.parametrize("text", ["x:80", "80:x", "0:1", "1:65536", "1-2:1-3", "2-1:2-1", "80:80/icmp", ""])
def test_what_is_no_port_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="--publish"):
        values.ports(text)


def test_volumes_are_paths_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mount = values.volume(f"{tmp_path}:/data:ro,rslave,Z")
    assert (mount.source, mount.destination, mount.read_only) == (str(tmp_path), "/data", True)
    assert mount.propagation == "rslave"
    monkeypatch.chdir(tmp_path)
    (tmp_path / "site").mkdir()
    assert values.volume("./site:/srv").source == str(tmp_path / "site")


@pytest.mark.parametrize("text", ["data:/x", "/tmp", "/tmp:x", "/no/such/thing:/x", "/tmp:/x:frob", ":/x"])
def test_what_is_no_volume_is_refused_with_a_way_out(text: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        values.volume(text)
    assert caught.value.hint


def test_variables_come_from_options_files_and_this_shell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINE", "here")
    monkeypatch.delenv("NOT_MINE", raising=False)
    (tmp_path / "env").write_text("# comment\n\nA=1\nMINE\nB=x=y\n")
    _, config = asked("--env-file", str(tmp_path / "env"), "-e", "A=2", "-e", "MINE", "-e", "NOT_MINE")
    assert config.env == (("A", "1"), ("MINE", "here"), ("B", "x=y"), ("A", "2"), ("MINE", "here"))


def test_options_reach_the_pod_and_the_container() -> None:
    pod, config = asked(
        *("--network", "bridge", "--hostname", "h", "-p", "8080:80", "--dns", "10.0.0.1", "--pid", "host"),
        *("--add-host", "db:10.0.0.5", "--sysctl", "net.core.somaxconn=1024", "-m", "64m", "--cpus", "0.5"),
        *("--pids-limit", "10", "--cap-drop", "ALL", "--cap-add", "CHOWN", "--read-only", "-u", "1:2"),
        *("--security-opt", "no-new-privileges", "--security-opt", "seccomp=unconfined", "--rm", "-it"),
        *("--tmpfs", "/run:size=1m", "-l", "a=b", "--entrypoint", "sh", "-w", "/x", "--stop-signal", "INT"),
    )
    assert (pod.network, pod.hostname, pod.ports) == ("pod", "h", (PortMapping(8080, 80),))
    assert (pod.dns.servers, pod.host_aliases) == (("10.0.0.1",), (("10.0.0.5", ("db",)),))
    assert (pod.host_pid, pod.host_ipc, dict(pod.sysctls)) == (True, False, {"net.core.somaxconn": "1024"})
    limits = config.resources
    assert (limits.memory_limit, limits.cpu_limit, limits.pids) == (64 << 20, 500, 10)
    security = config.security
    assert (security.drop_capabilities, security.add_capabilities) == (("ALL",), ("CHOWN",))
    assert (security.read_only_root, security.user) == (True, "1:2")
    assert (security.no_new_privileges, security.seccomp) == (True, "unconfined")
    assert (config.command, config.args, config.working_dir) == (("sh",), ("true",), "/x")
    assert (config.terminal, config.stdin, config.remove, config.stop_signal) == (True, True, True, "INT")
    assert (config.mounts[0].destination, config.mounts[0].size) == ("/run", 1 << 20)
    assert dict(config.labels) == {"a": "b"}


def test_an_entrypoint_is_a_program_a_json_list_or_nothing() -> None:
    assert asked("--entrypoint", '["sh", "-c"]')[1].command == ("sh", "-c")
    assert asked("--entrypoint", "")[1].command == ()
    assert asked()[1].command is None
    with pytest.raises(InvalidInput):
        asked("--entrypoint", "[1]")


@pytest.mark.parametrize("option", ["apparmor", "frob=1", "seccomp", "no-new-privileges=maybe"])
def test_unknown_security_options_are_refused(option: str) -> None:
    with pytest.raises(InvalidInput, match="known: no-new-privileges"):
        try:
            asked("--security-opt", option)
        except InvalidInput as error:
            raise InvalidInput(error.subject, f"{error.cause} {error.hint}", hint="") from error


def test_made_up_names_say_the_image_and_differ() -> None:
    assert made_up_name("docker.io/library/busybox:1.36").startswith("busybox-")
    assert made_up_name("127.0.0.1:5000/a/b_c@sha256:00").startswith("b-c-")
    assert made_up_name("busybox") != made_up_name("busybox")


def test_the_detach_keys_let_go_and_half_of_them_is_held_back() -> None:
    keys = DetachKeys()
    assert keys.pass_on(b"ls\n") == b"ls\n"
    assert keys.pass_on(b"a\x10") == b"a"
    assert keys.pass_on(b"b") == b"\x10b"
    keys.pass_on(b"\x10")
    with pytest.raises(Detached):
        keys.pass_on(b"\x11")
