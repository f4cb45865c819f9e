"""A container's life under every runtime of the machine."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time

import pytest

from orlop.kit.errors import Conflict, InvalidInput, NotFound, OrlopError
from orlop.runtime import logs
from orlop.runtime.errors import CommandDenied, CommandNotFound, hybrid
from orlop.runtime.model import Device, Mount, Process, Resources, Security
from orlop.runtime.signals import signal_number
from tests.runtime.conftest import Bench

pytestmark = pytest.mark.host


def test_a_container_runs_and_its_log_and_exit_code_are_kept(bench: Bench) -> None:
    spec = bench.spec("sh", "-c", "echo out; echo err >&2; exit 3")
    assert bench.engine.create(spec, log_path=bench.log(spec)) > 0
    assert bench.engine.state(spec.id) == "created"
    bench.engine.start(spec.id)
    assert bench.ended(spec.id).code == 3
    records = [(record.stream, record.data) for record in logs.read(bench.log(spec))]
    assert sorted(records) == [("stderr", b"err"), ("stdout", b"out")]
    assert not bench.ended(spec.id).oom_killed


def test_a_signal_ends_it_with_128_and_its_number(bench: Bench) -> None:
    identifier = bench.start(bench.spec("sleep", "100"))
    assert bench.engine.state(identifier) == "running"
    bench.engine.kill(identifier, "SIGKILL")
    assert bench.ended(identifier).code == 137
    bench.engine.kill(identifier, "KILL")
    bench.engine.kill(identifier, 9, all=True)
    bench.engine.delete(identifier)
    bench.engine.delete(identifier)
    bench.engine.kill(identifier, 9)
    assert bench.engine.state(identifier) == ""


def test_killing_all_reaches_the_children(bench: Bench) -> None:
    identifier = bench.start(bench.spec("sh", "-c", "sleep 100 & sleep 100 & wait"))
    bench.engine.kill(identifier, 9, all=True)
    assert bench.ended(identifier).code == 137
    assert bench.engine.cgroups.pids(f"{bench.pod}/{identifier}") == []


def test_a_running_container_is_not_deleted_without_force(bench: Bench) -> None:
    identifier = bench.start(bench.spec("sleep", "100"))
    with pytest.raises(Conflict):
        bench.engine.delete(identifier)
    assert bench.engine.state(identifier) == "running"
    bench.engine.delete(identifier, force=True)
    assert not os.path.exists(f"{bench.engine.exits}/{identifier}")


def test_a_created_container_can_be_deleted_by_force(bench: Bench) -> None:
    spec = bench.spec("sleep", "100")
    bench.engine.create(spec, log_path=bench.log(spec))
    bench.engine.delete(spec.id, force=True)
    assert bench.engine.state(spec.id) == ""


def test_a_program_that_is_absent_and_one_that_cannot_run_are_told_apart(bench: Bench) -> None:
    for program, error in (
        ("nowhere", CommandNotFound),
        ("/etc/passwd", CommandDenied),
        ("/etc", CommandDenied),
    ):
        spec = bench.spec(program)
        with pytest.raises(error):
            bench.start(spec)
        bench.engine.delete(spec.id, force=True)


def test_starting_what_was_not_created_says_so(bench: Bench) -> None:
    with pytest.raises(NotFound):
        bench.engine.start("0" * 64)


def test_defaults_are_those_of_the_field(bench: Bench) -> None:
    status = bench.sh(
        "cat /proc/self/status; ls /proc/kcore >/dev/null; echo LINK $(head -c1 /proc/kcore | wc -c)"
    )
    assert "Seccomp:\t2" in status
    assert "NoNewPrivs:\t0" in status
    assert "CapEff:\t00000000000005fb" in status
    assert "CapInh:\t0000000000000000" in status
    assert "CapAmb:\t0000000000000000" in status
    assert "LINK 0" in status


def test_the_seccomp_filter_refuses_what_needs_rights(bench: Bench) -> None:
    code, text = bench.said("sh", "-c", "unshare -U true || unshare -m true")
    assert code != 0
    assert "not permitted" in text.lower()


def test_a_profile_of_the_user_is_obeyed(bench: Bench) -> None:
    profile = f"{bench.folder}/profile.json"
    with open(profile, "w", encoding="ascii") as stream:
        stream.write(
            '{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir", "mkdirat"],'
            ' "action": "SCMP_ACT_ERRNO"}]}'
        )
    code, text = bench.said("mkdir", "/tmp/a", security=Security(seccomp=profile))
    assert code != 0
    assert "not permitted" in text


def test_a_privileged_container_has_what_this_process_has(bench: Bench) -> None:
    text = bench.sh("cat /proc/self/status; ls /dev", security=Security(privileged=True))
    with open("/proc/self/status", encoding="ascii") as stream:
        own = next(line.strip() for line in stream if line.startswith("CapPrm"))
    assert own.replace("CapPrm", "CapEff") in text
    assert "Seccomp:\t0" in text
    assert "loop-control" in text or len(text.splitlines()) > 60


def test_rights_that_are_lacking_are_clamped(bench: Bench) -> None:
    resources = Resources(oom_score_adj=-999)
    security = Security(add_capabilities=("ALL",))
    text = bench.sh("cat /proc/self/oom_score_adj", resources=resources, security=security)
    assert int(text) in (-999, bench.engine.rights.oom_score_adj)
    limits = {"RLIMIT_NOFILE": (1 << 20, 1 << 20)}
    assert int(bench.sh("ulimit -n", rlimits=limits)) > 0


def test_user_home_and_groups_come_from_the_image(bench: Bench) -> None:
    text = bench.sh("id; echo $HOME; pwd", security=Security(user="sailor"), process={"cwd": "/home"})
    assert "uid=1000(sailor) gid=1000(sailor)" in text
    assert "2000(crew)" in text
    assert text.splitlines()[1:] == ["/home/sailor", "/home"]


def test_limits_reach_the_kernel_and_can_be_changed(bench: Bench) -> None:
    spec = bench.spec(
        "sleep", "100", resources=Resources(memory_limit=64 << 20, pids=50, cpu_limit=500, cpu_request=250)
    )
    identifier = bench.start(spec)
    stats = bench.engine.stats(identifier)
    assert (stats.memory_limit, stats.pids_limit) == (64 << 20, 50)
    assert stats.pids >= 1
    assert stats.working_set > 0
    bench.engine.update(identifier, Resources(memory_limit=96 << 20))
    assert bench.engine.stats(identifier).memory_limit == 96 << 20


def test_lack_of_memory_is_reported_as_such(bench: Bench) -> None:
    eat = "x=aaaaaaaaaaaaaaaa; while true; do x=$x$x; done"
    spec = bench.spec("sh", "-c", eat, resources=Resources(memory_limit=16 << 20))
    identifier = bench.start(spec)
    found = bench.ended(identifier)
    assert found.code == 137
    assert found.oom_killed


def test_mounts_devices_and_parts_of_volumes(bench: Bench) -> None:
    volume = f"{bench.folder}/volume"
    os.makedirs(f"{volume}/part")
    with open(f"{volume}/part/file", "w", encoding="ascii") as stream:
        stream.write("inside")
    os.symlink("/etc", f"{volume}/out")
    text = bench.sh(
        "cat /data/file; touch /data/x 2>&1; test -d /made/deep && echo made; mount | grep ' /scratch ';"
        "ls /dev/mem2",
        mounts=(
            Mount("/data", volume, read_only=True, sub_path="part"),
            Mount("/made", volume, sub_path="new"),
            Mount("/made/deep", volume, sub_path="new/deep"),
            Mount("/scratch", size=1 << 20),
        ),
        devices=(Device("/dev/null", "/dev/mem2"),),
    )
    assert text.startswith("inside")
    assert "Read-only" in text
    assert "made" in text
    assert "size=1024k" in text
    assert os.path.isdir(f"{volume}/new/deep")
    for part in ("out", "../volume", "out/passwd"):
        spec = bench.spec("true", mounts=(Mount("/data", volume, sub_path=part),))
        with pytest.raises(InvalidInput):
            bench.engine.create(spec)


def test_commands_run_in_it_with_exact_codes_and_output(bench: Bench) -> None:
    identifier = bench.start(bench.spec("sleep", "100", process={"env": ("A=1",), "cwd": "/tmp"}))
    done = bench.engine.exec_sync(
        identifier,
        Process(args=("sh", "-c", "echo $A$B; pwd; cat; echo e >&2; exit 7"), env=("B=2",)),
        stdin=b"in",
    )
    assert (done.exit_code, done.stdout, done.stderr) == (7, b"12\n/tmp\nin", b"e\n")
    assert bench.engine.exec_sync(identifier, Process(args=("sh", "-c", "kill -15 $$"))).exit_code == 143
    who = bench.engine.exec_sync(identifier, Process(args=("id",)), user="sailor")
    assert who.stdout.startswith(b"uid=1000(sailor) gid=1000(sailor)")
    with pytest.raises(CommandNotFound):
        bench.engine.exec_sync(identifier, Process(args=("nowhere",)))
    with pytest.raises(CommandDenied):
        bench.engine.exec_sync(identifier, Process(args=("/etc/passwd",)))


def test_commands_are_confined_as_the_container_is(bench: Bench) -> None:
    identifier = bench.start(bench.spec("sleep", "100"))
    done = bench.engine.exec_sync(identifier, Process(args=("cat", "/proc/self/status")))
    assert b"Seccomp:\t2" in done.stdout
    assert b"CapEff:\t00000000000005fb" in done.stdout
    refused = bench.engine.exec_sync(identifier, Process(args=("unshare", "-m", "true")))
    assert refused.exit_code != 0


def test_a_slow_command_is_killed_with_its_children_and_the_container_goes_on(bench: Bench) -> None:
    identifier = bench.start(bench.spec("sleep", "100"))
    before = bench.engine.cgroups.pids(f"{bench.pod}/{identifier}")
    done = bench.engine.exec_sync(
        identifier, Process(args=("sh", "-c", "echo begun; sleep 77 & sleep 77")), timeout=1.5
    )
    assert done.timed_out
    assert done.stdout == b"begun\n"
    assert bench.engine.cgroups.pids(f"{bench.pod}/{identifier}") == before
    assert bench.engine.state(identifier) == "running"


def test_exec_in_a_container_that_does_not_run_is_a_conflict(bench: Bench) -> None:
    identifier = bench.start(bench.spec("true"))
    bench.ended(identifier)
    with pytest.raises(Conflict):
        bench.engine.exec_sync(identifier, Process(args=("true",)))
    with pytest.raises(Conflict):
        bench.engine.attach(identifier)


def test_exec_attached_uses_the_descriptors_that_it_is_given(bench: Bench) -> None:
    identifier = bench.start(bench.spec("sleep", "100"))
    read, write = os.pipe()
    source, feed = os.pipe()
    os.write(feed, b"fed\n")
    os.close(feed)
    code = bench.engine.exec_attached(
        identifier, Process(args=("sh", "-c", "cat; exit 5"), stdin=True), source, write, write
    )
    os.close(write)
    assert (code, os.read(read, 100)) == (5, b"fed\n")
    os.close(read)
    os.close(source)


def test_exec_with_a_terminal_has_one(bench: Bench) -> None:
    import pty

    identifier = bench.start(bench.spec("sleep", "100"))
    master, slave = pty.openpty()
    code = bench.engine.exec_attached(
        identifier, Process(args=("sh", "-c", "tty; exit 4")), slave, slave, slave, tty=True
    )
    os.close(slave)
    assert code == 4
    assert b"/dev/pts/" in os.read(master, 1000)
    os.close(master)


def test_what_a_quick_command_says_on_a_terminal_is_never_lost(bench: Bench) -> None:
    import pty

    identifier = bench.start(bench.spec("sleep", "100"))
    for _ in range(30):
        master, slave = pty.openpty()
        asked = Process(args=("echo", "-n", "hello"))
        assert bench.engine.exec_attached(identifier, asked, slave, slave, slave, tty=True) == 0
        os.close(slave)
        assert os.read(master, 1000) == b"hello"
        os.close(master)


def test_a_terminal_has_a_size_and_takes_input(bench: Bench) -> None:
    spec = bench.spec("sh", "-c", "read x; stty size; echo got $x", process={"terminal": True, "stdin": True})
    bench.engine.create(spec, log_path=bench.log(spec))
    with bench.engine.attach(spec.id) as session:
        bench.engine.start(spec.id)
        bench.engine.resize(spec.id, 123, 45)
        time.sleep(0.3)
        session.send(b"line\n")
        text = b""
        while (packet := session.receive()) is not None:
            text += packet[1]
    assert b"45 123" in text
    assert b"got line" in text


def test_several_clients_follow_and_leaving_ends_nothing(bench: Bench) -> None:
    spec = bench.spec("sh", "-c", "read x; echo $x; read y; echo $y", process={"stdin": True})
    bench.engine.create(spec, log_path=bench.log(spec))
    first, second = bench.engine.attach(spec.id), bench.engine.attach(spec.id)
    bench.engine.start(spec.id)
    first.send(b"one\n")
    assert first.receive() == (1, b"one\n")
    assert second.receive() == (1, b"one\n")
    first.close()
    second.send(b"two\n")
    assert second.receive() == (1, b"two\n")
    assert bench.ended(spec.id).code == 0
    assert second.receive() is None
    second.close()


def test_input_that_ends_once_reaches_the_program(bench: Bench) -> None:
    spec = bench.spec("cat", process={"stdin": True})
    bench.engine.create(spec, log_path=bench.log(spec), stdin_once=True)
    with bench.engine.attach(spec.id) as session:
        bench.engine.start(spec.id)
        session.send(b"all of it")
        assert session.receive() == (1, b"all of it")
        session.close_input()
        assert session.receive() is None
    assert bench.ended(spec.id).code == 0


def test_a_log_is_rotated_while_it_is_written(bench: Bench) -> None:
    spec = bench.spec("sh", "-c", "i=0; while test $i -lt 80; do echo $i; i=$((i+1)); sleep 0.02; done")
    identifier = bench.start(spec)
    for _ in range(5):
        bench.engine.rotate_log(identifier, bench.log(spec), 100)
    bench.ended(identifier)
    lines = [int(record.data) for record in logs.read(bench.log(spec))]
    assert lines == list(range(80))
    assert os.path.exists(bench.log(spec) + ".5")


def test_a_frozen_container_goes_on_and_can_be_killed(bench: Bench) -> None:
    identifier = bench.start(bench.spec("sleep", "100"))
    bench.engine.pause(identifier)
    assert bench.engine.state(identifier) == "paused"
    bench.engine.resume(identifier)
    assert bench.engine.state(identifier) == "running"
    bench.engine.pause(identifier)
    bench.engine.kill(identifier, 9, all=True)
    assert bench.ended(identifier).code == 137


def test_conmon_runs_a_command_at_the_end(bench: Bench) -> None:
    mark = f"{bench.folder}/mark"
    identifier = bench.start(bench.spec("true"), exit_command=("/bin/touch", mark))
    bench.ended(identifier)
    deadline = time.monotonic() + 10
    while not os.path.exists(mark) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert os.path.exists(mark)


def test_an_end_that_nobody_recorded_is_not_waited_for(bench: Bench) -> None:
    identifier = bench.start(bench.spec("sleep", "100"))
    os.kill(bench.engine.conmon_pid(identifier), signal.SIGKILL)
    bench.engine.kill(identifier, 9)
    assert bench.engine.wait(identifier, 30) is None
    bench.engine.delete(identifier, force=True)


def test_a_path_of_a_log_may_not_be_a_trap(crun: Bench) -> None:
    os.symlink("/etc/passwd", f"{crun.folder}/link.log")
    os.mkfifo(f"{crun.folder}/fifo.log")
    for path in (
        "relative",
        f"{crun.folder}/../x",
        f"{crun.folder}/link.log",
        f"{crun.folder}/fifo.log",
        "/a\nb",
    ):
        with pytest.raises(InvalidInput):
            crun.engine.create(crun.spec("true"), log_path=path)
    with pytest.raises(NotFound):
        crun.engine.create(crun.spec("true"), log_path=f"{crun.folder}/nowhere/x")


def test_names_are_no_paths(crun: Bench) -> None:
    for bad in ("../x", "", ".", "a/b", "-f"):
        with pytest.raises(InvalidInput):
            crun.engine.delete(bad)


def test_signals_have_names() -> None:
    assert signal_number("TERM") == signal_number("sigterm") == signal_number("15") == 15
    assert signal_number("RTMIN+3") == signal.SIGRTMIN + 3
    assert signal_number("SIGRTMAX-1") == signal.SIGRTMAX - 1
    for bad in ("NONE", "0", "99", "", "_DFL", "RTMIN+x"):
        with pytest.raises(InvalidInput):
            signal_number(bad)


def test_the_mixture_of_cgroups_is_explained() -> None:
    error = hybrid("cgroups in hybrid mode not supported")
    assert "mount -t cgroup -o hugetlb" in error.hint


_CREATOR = """
import sys
from orlop.kit.node import Node
from orlop.runtime.engine import Engine, RuntimeSettings
from orlop.runtime.model import ContainerSpec, Process
folder, runtime, identifier, root, cgroup = sys.argv[1:]
engine = Engine(Node(folder + "/r", folder + "/s", folder + "/c"), RuntimeSettings(path=runtime))
engine.create(
    ContainerSpec(id=identifier, root=root, process=Process(args=("sleep", "100")), cgroup=cgroup),
    log_path=folder + "/" + identifier[:12] + ".log",
)
print("created", flush=True)
engine.start(identifier)
print("started", flush=True)
sys.stdin.read()
"""


def _creator(bench: Bench) -> tuple[str, subprocess.Popen[str]]:
    spec = bench.spec("sleep", "100")
    line = [
        sys.executable,
        "-c",
        _CREATOR,
        bench.folder,
        bench.engine.runtime,
        spec.id,
        spec.root,
        spec.cgroup,
    ]
    child = subprocess.Popen(
        line,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": "src"},
    )
    return spec.id, child


def test_a_container_survives_the_process_that_started_it(bench: Bench) -> None:
    identifier, child = _creator(bench)
    assert child.stdout is not None
    assert [child.stdout.readline(), child.stdout.readline()] == ["created\n", "started\n"]
    child.kill()
    child.communicate()
    assert bench.engine.state(identifier) == "running"
    assert bench.engine.conmon_pid(identifier)


def test_a_creator_killed_at_any_moment_leaves_nothing_that_cannot_be_deleted(crun: Bench) -> None:
    begun = time.monotonic()
    identifier, child = _creator(crun)
    assert child.stdout is not None
    child.stdout.readline()
    whole = time.monotonic() - begun
    child.kill()
    child.communicate()
    for step in range(24):
        identifier, child = _creator(crun)
        time.sleep(whole * (0.25 + 0.85 * step / 24))
        child.kill()
        child.communicate()
        with contextlib.suppress(OrlopError):
            crun.engine.state(identifier)
        crun.engine.delete(identifier, force=True)
        assert crun.engine.state(identifier) == ""
        assert crun.engine.cgroups.pids(f"{crun.pod}/{identifier}") == []
        assert not os.path.exists(f"{crun.engine.exits}/{identifier}")
