"""`orlop run`, `ps`, `logs`, `exec`, ... through the program, on a node of its own, with real crun."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from orlop.kit.node import Node
from tests.cli.program import ORLOP, answer, orlop
from tests.support.node import leaks, temporary_node

pytestmark = pytest.mark.host
IMAGE = "busybox"


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch) -> Iterator[Node]:
    """A node with busybox in its store, named by the environment; nothing may be left at the end."""
    with temporary_node() as made:
        for name, value in {"ROOT": made.root, "STATE": made.state, "CONFIG": made.config}.items():
            monkeypatch.setenv(f"ORLOP_{name}", value)
        yield made


def run(*arguments: str, code: int = 0, stdin: bytes = b"") -> subprocess.CompletedProcess[str]:
    return orlop("run", "--network", "none", *arguments, code=code, stdin=stdin)


def until(true: Callable[[], object], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "did not happen"
        time.sleep(0.02)


def test_run_prints_what_the_container_prints_and_leaves_nothing_with_rm(node: Node) -> None:
    done = run("--rm", IMAGE, "sh", "-c", "echo out; echo err >&2")
    assert (done.stdout, done.stderr) == ("out\n", "err\n")
    assert answer("ps", "--all") == []
    assert answer("pod", "list") == []


def test_run_ends_with_the_containers_exit_code(node: Node) -> None:
    run("--rm", IMAGE, "sh", "-c", "exit 42", code=42)
    run("--rm", IMAGE, "sh", "-c", "sh -c 'kill -9 $$'; exit $?", code=137)


def test_a_command_that_is_absent_is_127_and_one_that_cannot_run_is_126(node: Node) -> None:
    absent = run("--rm", IMAGE, "no-such-command", code=127)
    assert "error: " in absent.stderr
    assert "no-such-command" in absent.stderr
    run("--rm", IMAGE, "/etc/passwd", code=126)
    assert answer("ps", "--all") == []
    assert answer("pod", "list") == []


def test_an_image_that_is_absent_is_orlops_own_failure(node: Node) -> None:
    failed = run("--rm", "--pull", "never", "no-such-image", code=125)
    assert "hint: orlop image pull no-such-image" in failed.stderr


def test_an_image_for_another_platform_is_not_taken_for_the_one_that_was_asked_for(node: Node) -> None:
    run("--rm", "--pull", "never", "--platform", "linux/amd64", IMAGE, "true")
    failed = run("--rm", "--pull", "never", "--platform", "linux/arm64", IMAGE, "true", code=125)
    assert "is not stored here for linux/arm64" in failed.stderr
    run("--rm", "--pull", "never", "--platform", "a/b/c/d", IMAGE, "true", code=125)


def test_without_rm_the_container_stays_listed_until_it_is_removed(node: Node) -> None:
    run("--name", "once", IMAGE, "sh", "-c", "echo kept; exit 3", code=3)
    assert answer("ps") == []
    (listed,) = answer("ps", "--all")
    assert (listed["name"], listed["state"], listed["exit_code"]) == ("once", "exited", 3)
    assert "Exited (3)" in orlop("ps", "--all").stdout
    assert orlop("logs", "once").stdout == "kept\n"
    (inspected,) = answer("inspect", "once")
    assert inspected["config"]["args"] == ["sh", "-c", "echo kept; exit 3"]
    assert "state: exited" in orlop("inspect", "once").stdout
    orlop("remove", "once")
    assert answer("ps", "--all") == []
    assert answer("pod", "list") == []
    orlop("remove", "once", code=3)
    orlop("remove", "--force", "once")


def test_input_reaches_the_container_and_its_end_too(node: Node) -> None:
    data = bytes(range(256)) * 4096
    done = subprocess.run(
        [ORLOP, "run", "--rm", "-i", "--network", "none", IMAGE, "cat"],
        input=data,
        capture_output=True,
        timeout=60,
        check=True,
    )
    assert done.stdout == data
    assert run("--rm", IMAGE, "cat", stdin=b"not passed on").stdout == ""


def test_a_detached_container_runs_until_it_is_stopped(node: Node) -> None:
    identity = run("-d", "--name", "sleeper", IMAGE, "sleep", "1000").stdout.strip()
    assert len(identity) == 64
    (listed,) = answer("ps")
    assert (listed["id"], listed["state"]) == (identity, "running")
    assert "Up " in orlop("ps").stdout
    assert orlop("ps", "--quiet").stdout.strip() == identity[:12]
    assert "is running" in orlop("remove", "sleeper", code=4).stderr
    orlop("stop", "--time", "0", "sleeper")
    orlop("stop", "sleeper")
    assert answer("ps") == []
    orlop("remove", identity[:8])


def test_ports_are_free_again_when_the_container_has_ended(node: Node) -> None:
    from orlop.cli.container.values import free_port

    publish = ("-p", f"127.0.0.1:{free_port('tcp', '127.0.0.1')}:80")
    orlop("run", *publish, "--name", "one", IMAGE, "true")
    orlop("run", *publish, "--name", "two", "-d", IMAGE, "true")  # what it holds is freed after its end
    until(lambda: orlop("run", *publish, "--name", "three", "-d", IMAGE, "true", code=None).returncode == 0)
    until(lambda: all(pod["state"] == "notready" for pod in answer("pod", "list")))
    assert [container["ips"] for container in answer("ps", "-a")] == [[], [], []]
    assert orlop("logs", "two").stdout == ""
    orlop("rm", "--all")
    assert answer("pod", "list") == []


def test_a_name_that_is_taken_is_refused(node: Node) -> None:
    run("-d", "--name", "one", IMAGE, "sleep", "1000")
    failed = run("-d", "--name", "one", IMAGE, "sleep", "1000", code=125)
    assert "one" in failed.stderr
    orlop("remove", "--force", "one")


def test_a_detached_container_with_rm_is_gone_after_its_end(node: Node) -> None:
    run("-d", "--rm", IMAGE, "true")
    until(lambda: answer("ps", "--all") == [] and answer("pod", "list") == [])


def test_exec_runs_a_command_in_the_container(node: Node) -> None:
    run("-d", "--name", "host", "-e", "A=1", "-w", "/tmp", IMAGE, "sleep", "1000")
    assert orlop("exec", "host", "sh", "-c", "echo $A $B; pwd").stdout == "1\n/tmp\n"
    done = orlop(
        "exec", "-e", "B=2", "-w", "/etc", "host", "sh", "-c", "echo $B; pwd; echo e >&2; exit 5", code=5
    )
    assert (done.stdout, done.stderr) == ("2\n/etc\n", "e\n")
    assert orlop("exec", "-i", "host", "cat", stdin=b"hello").stdout == "hello"
    assert orlop("exec", "-u", "nobody", "host", "id", "-u").stdout == "65534\n"
    orlop("exec", "host", "no-such-command", code=127)
    orlop("exec", "host", "/etc/passwd", code=126)
    orlop("exec", "nothing", "true", code=125)
    orlop("stop", "-t", "0", "host")
    assert "does not run" in orlop("exec", "host", "true", code=125).stderr


def test_logs_are_followed_cut_and_dated(node: Node) -> None:
    run("--name", "talker", IMAGE, "sh", "-c", "echo one; echo two >&2; echo three; printf four")
    done = orlop("logs", "talker")
    assert (done.stdout, done.stderr) == ("one\nthree\nfour", "two\n")
    assert orlop("logs", "--tail", "1", "talker").stdout.strip() == "four"
    assert orlop("logs", "--follow", "talker").stdout == done.stdout
    stamped = orlop("logs", "--timestamps", "talker").stdout.splitlines()[0]
    assert stamped.endswith(" one")
    assert stamped.startswith("20")
    told = [json.loads(line) for line in orlop("logs", "talker", "-o", "json").stdout.splitlines()]
    assert {entry["stream"] for entry in told} == {"stdout", "stderr"}
    assert orlop("logs", "--since", "2100-01-01T00:00:00Z", "talker").stdout == ""
    orlop("logs", "--since", "yesterday", "talker", code=2)
    orlop("logs", "--tail", "x", "talker", code=2)
    orlop("logs", "nothing", code=3)


def test_following_logs_ends_with_the_container(node: Node) -> None:
    run("-d", "--name", "counter", IMAGE, "sh", "-c", "for i in 1 2 3; do echo $i; sleep 0.2; done")
    assert orlop("logs", "-f", "counter").stdout == "1\n2\n3\n"


def test_files_are_copied_in_and_out(node: Node, tmp_path: Path) -> None:
    run("-d", "--name", "box", IMAGE, "sleep", "1000")
    (tmp_path / "in").write_text("data\n")
    orlop("cp", str(tmp_path / "in"), "box:/tmp/there")
    assert orlop("exec", "box", "cat", "/tmp/there").stdout == "data\n"
    orlop("cp", "box:/tmp/there", str(tmp_path / "out"))
    assert (tmp_path / "out").read_text() == "data\n"
    archive = subprocess.run([ORLOP, "cp", "box:/tmp/there", "-"], capture_output=True, check=True).stdout
    assert b"data\n" in archive
    orlop("cp", "-", "box:/tmp/new", stdin=archive)
    assert orlop("exec", "box", "cat", "/tmp/new/there").stdout == "data\n"
    orlop("cp", "box:/absent", str(tmp_path), code=3)
    orlop("cp", "a", "b", code=2)
    orlop("cp", "a:x", "b:y", code=2)


def test_stats_are_a_table_or_numbers(node: Node) -> None:
    run("-d", "--name", "busy", "--memory", "64m", "--pids-limit", "50", IMAGE, "sleep", "1000")
    (told,) = answer("stats", "--no-stream")
    assert told["name"] == "busy"
    assert told["memory_limit"] == 64 << 20
    assert told["pids"] >= 1
    assert told["received"] >= 0 and told["sent"] >= 0
    assert "busy" in orlop("stats", "--no-stream").stdout


def test_options_reach_the_process(node: Node, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mounted\n")
    done = run(
        *("--rm", "-e", "A=b c", "-w", "/tmp", "--hostname", "me", "-u", "0:33", "--read-only"),
        *("-v", f"{tmp_path}:/data:ro", "--tmpfs", "/scratch:size=1m", "--entrypoint", "sh"),
        *(
            IMAGE,
            "-c",
            "echo $A; pwd; hostname; id -g; cat /data/file; touch /data/x || echo ro; touch /x || echo ro",
        ),
    )
    assert done.stdout == "b c\n/tmp\nme\n33\nmounted\nro\nro\n"


def test_a_container_without_memory_is_reported_as_such(node: Node) -> None:
    run("--name", "hungry", "-m", "16m", IMAGE, "sh", "-c", "x=a; while :; do x=$x$x; done", code=137)
    assert answer("inspect", "hungry")[0]["reason"] == "OOMKilled"
    assert "OOMKilled" in orlop("ps", "-a").stdout


def test_the_pod_of_a_run_is_listed_and_inspected(node: Node) -> None:
    run("-d", "--name", "p", IMAGE, "sleep", "1000")
    (listed,) = answer("pod", "list")
    assert (listed["name"], listed["state"], listed["network"]) == ("p", "ready", "none")
    assert listed["containers"][0]["name"] == "p"
    assert "1/1" in orlop("pod", "list").stdout
    assert answer("pod", "inspect", "p")[0]["config"]["name"] == "p"
    orlop("pod", "stop", "-t", "0", "p")
    orlop("pod", "stop", "p")
    orlop("pod", "remove", "p")
    orlop("pod", "remove", "p", code=3)
    orlop("pod", "remove", "-f", "p")
    assert answer("ps", "-a") == []
    orlop("pod", "inspect", "p", code=3)


def test_signals_are_passed_on(node: Node) -> None:
    script = "trap 'echo got; exit 7' TERM; echo ready; while :; do sleep 0.05; done"
    child = subprocess.Popen(
        [ORLOP, "run", "--rm", "--network", "none", IMAGE, "sh", "-c", script], stdout=subprocess.PIPE
    )
    assert child.stdout is not None
    assert child.stdout.readline() == b"ready\n"
    child.send_signal(signal.SIGTERM)
    rest, _ = child.communicate(timeout=30)
    assert (rest, child.returncode) == (b"got\n", 7)


def test_the_third_interrupt_kills_what_ignores_it(node: Node) -> None:
    child = subprocess.Popen(
        [
            ORLOP,
            "run",
            "--rm",
            "--network",
            "none",
            IMAGE,
            "sh",
            "-c",
            "trap '' INT; echo ready; while :; do sleep 1; done",
        ],
        stdout=subprocess.PIPE,
    )
    assert child.stdout is not None
    child.stdout.readline()
    for _ in range(3):
        child.send_signal(signal.SIGINT)
        time.sleep(0.1)
    assert child.wait(30) == 137
    child.stdout.close()


def test_output_that_nobody_reads_ends_the_run_quietly(node: Node) -> None:
    line = f"{ORLOP} run --rm --network none {IMAGE} yes | head -1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", line], capture_output=True, timeout=60, check=True)
    assert (done.stdout, done.stderr) == (b"y\n141\n", b"")
    assert answer("ps", "-a") == []


def test_killing_the_run_leaves_the_container_running(node: Node) -> None:
    child = subprocess.Popen(
        [
            ORLOP,
            "run",
            "--name",
            "survivor",
            "--network",
            "none",
            IMAGE,
            "sh",
            "-c",
            "echo ready; exec sleep 1000",
        ],
        stdout=subprocess.PIPE,
    )
    assert child.stdout is not None
    child.stdout.readline()
    child.kill()
    child.communicate()
    assert answer("ps")[0]["state"] == "running"
    orlop("rm", "-f", "survivor")


class Terminal:
    """The program on a terminal of its own."""

    def __init__(self, *arguments: str) -> None:
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execv(ORLOP, [ORLOP, *arguments])

    def read_until(self, text: bytes, seconds: float = 30) -> bytes:
        seen = b""
        deadline = time.monotonic() + seconds
        while text not in seen:
            ready, _, _ = select.select([self.fd], [], [], max(0, deadline - time.monotonic()))
            assert ready, seen
            try:
                data = os.read(self.fd, 4096)
            except OSError:
                data = b""
            assert data, seen
            seen += data
        return seen

    def type(self, text: bytes) -> None:
        os.write(self.fd, text)

    def end(self) -> int:
        try:
            while os.read(self.fd, 4096):
                pass
        except OSError:
            pass
        _, status = os.waitpid(self.pid, 0)
        os.close(self.fd)
        return os.waitstatus_to_exitcode(status)


def test_a_terminal_is_raw_sized_and_given_back(node: Node) -> None:
    import fcntl
    import struct
    import termios

    shell = Terminal("run", "--rm", "-it", "--network", "none", IMAGE, "sh")
    fcntl.ioctl(shell.fd, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 123, 0, 0))
    shell.type(b"echo rea''dy; stty size\n")
    shell.read_until(b"ready")
    os.kill(shell.pid, signal.SIGWINCH)
    shell.type(b"sleep 0.2; stty size; echo en''d\n")
    assert b"40 123" in shell.read_until(b"end")
    shell.type(b"exit 9\n")
    assert shell.end() == 9


def test_the_detach_keys_leave_the_container_and_attach_comes_back(node: Node) -> None:
    shell = Terminal("run", "--name", "t", "-it", "--network", "none", IMAGE, "sh")
    shell.type(b"echo rea''dy\n")
    shell.read_until(b"ready")
    shell.type(b"\x10\x11")
    assert shell.end() == 0
    assert answer("ps")[0]["name"] == "t"
    again = Terminal("attach", "t")
    again.type(b"echo ba''ck; exit 4\n")
    again.read_until(b"back")
    assert again.end() == 4
    orlop("rm", "t")


def test_exec_with_a_terminal(node: Node) -> None:
    run("-d", "--name", "e", IMAGE, "sleep", "1000")
    shell = Terminal("exec", "-it", "e", "sh")
    shell.type(b"tty && echo is a ter''minal; exit 3\n")
    shell.read_until(b"terminal")
    assert shell.end() == 3
    orlop("rm", "-f", "e")


def test_a_container_with_a_network_answers_on_its_port(node: Node) -> None:
    import urllib.request

    from orlop.cli.container.values import free_port

    port = free_port("tcp", "127.0.0.1")
    script = "echo hello > /tmp/index.html; exec httpd -f -p 80 -h /tmp"
    orlop("run", "-d", "--name", "web", "-p", f"127.0.0.1:{port}:80", IMAGE, "sh", "-c", script)
    told = answer("ps")[0]
    assert told["ports"][0]["host_port"] == port
    assert told["ips"]
    assert f"127.0.0.1:{port}->80/tcp" in orlop("ps").stdout

    def served() -> bytes:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=2) as page:
                return bytes(page.read())
        except OSError:
            return b""

    until(lambda: served() == b"hello\n")
    orlop("rm", "-f", "web")


def test_node_down_leaves_nothing_and_is_harmless_twice(node: Node) -> None:
    orlop("run", "-d", "--name", "a", IMAGE, "sleep", "1000")
    run("-d", "--name", "b", IMAGE, "sleep", "1000")
    orlop("image", "mount", IMAGE)
    orlop("node", "down", "--time", "0")
    assert leaks(node) == []
    assert not os.path.exists(node.state)
    orlop("node", "down")
    assert answer("image", "list")
    orlop("node", "down", "--purge")
    assert not os.path.exists(node.root)


def test_this_machine_is_ready(node: Node) -> None:
    told = answer("node", "check")
    assert told["ready"] is True
    assert {finding["name"] for finding in told["findings"]} >= {
        "cgroups",
        "overlay",
        "runtime",
        "conmon",
        "network",
    }
    assert "ok       overlay" in orlop("node", "check").stdout


def test_what_is_nobodys_is_taken_away_when_asked(node: Node) -> None:
    orphan = node.in_state("bundles", "f" * 64)
    os.makedirs(orphan)
    orlop("node", "check")
    assert os.path.exists(orphan)
    assert "finished or removed: 1 leftovers of nobody" in orlop("node", "check", "--repair").stdout
    assert not os.path.exists(orphan)


@pytest.mark.parametrize("text", ["[runtime]\nlog_size = '1MiB'\n", "[network]\nsubnet = 1\n"])
def test_a_wrong_configuration_leaves_nothing_behind(node: Node, text: str) -> None:
    with open(node.config, "w", encoding="utf-8") as stream:
        stream.write(text)
    assert node.config in run("--rm", IMAGE, "true", code=125).stderr
    with open(node.config, "w", encoding="utf-8"):
        pass
    assert answer("ps", "--all") == [] and answer("pod", "list") == []


def test_what_is_missing_on_a_machine_is_said_with_what_to_do(node: Node) -> None:
    with open(node.config, "w", encoding="utf-8") as stream:
        stream.write('[runtime]\npath = "/no/such/runtime"\n[network]\nplugin_dirs = ["/no/such/folder"]\n')
    failed = orlop("node", "check", code=9)
    assert "MISSING" in failed.stdout
    assert "/no/such/runtime" in failed.stdout
    assert "the CNI plugins bridge, host-local, portmap are in none of /no/such/folder" in failed.stdout
    assert "hint: " in failed.stderr
    assert "/no/such/runtime" in run("--rm", IMAGE, "true", code=125).stderr
    with open(node.config, "w", encoding="utf-8") as stream:
        stream.write("[runtime]\nfrob = 1\n")
    assert "frob" in orlop("node", "check", code=9).stdout
    with open(node.config, "w", encoding="utf-8") as stream:
        stream.write("")


def test_a_node_has_one_name_whichever_way_leads_to_it(node: Node, tmp_path: Path) -> None:
    run("-d", "--name", "linked", IMAGE, "sleep", "1000")
    (tmp_path / "root").symlink_to(node.root)
    (tmp_path / "state").symlink_to(node.state)
    other = ("--root", str(tmp_path / "root"), "--state", str(tmp_path / "state"))
    assert orlop(*other, "exec", "linked", "echo", "same").stdout == "same\n"
    orlop(*other, "rm", "-f", "linked")
    assert answer("ps", "-a") == []


def test_closed_streams_are_no_danger(node: Node) -> None:
    for words in ("ps", "run --rm --network none busybox echo x", "run --rm -i --network none busybox cat"):
        done = subprocess.run(
            ["bash", "-c", f"{ORLOP} {words} <&- >&- 2>&-"], capture_output=True, timeout=60, check=False
        )
        assert done.returncode == 0
    orlop("store", "check")
    assert answer("ps", "-a") == []


def test_output_of_any_size_arrives_whole(node: Node) -> None:
    done = run("--rm", IMAGE, "seq", "1", "100000")
    assert done.stdout == "".join(f"{number}\n" for number in range(1, 100_001))


def test_run_imports_nothing_that_it_could_do_without(node: Node) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", ORLOP, "run", "--rm", "--network", "none", IMAGE, "true"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    heavy = {"asyncio", "urllib3", "ssl", "yaml", "rich", "msgspec", "subprocess", "logging", "inspect"}
    heavy |= {"dataclasses", "shutil", "tempfile", "pathlib"}  # tomllib itself imports typing
    assert "orlop.pod.run" in imported
    assert imported & heavy == set()
    assert not [name for name in imported if name.startswith("orlop.system")]
