"""The door for child processes, with real children."""

from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from orlop.kit import process
from orlop.kit.errors import LimitExceeded, NotFound, ProcessFailed, TimedOut, Unsupported


def test_a_childs_words_and_status_come_back() -> None:
    done = process.run(("sh", "-c", "echo out; echo err >&2; exit 3"), check=False)
    assert (done.status, done.text, done.stderr) == (3, "out\n", b"err\n")


def test_a_failure_quotes_the_child_and_its_command_line() -> None:
    with pytest.raises(ProcessFailed) as caught:
        process.run(("sh", "-c", "echo 'no luck' >&2; exit 3"), hint="try harder")
    error = caught.value
    assert error.status == 3 and error.stderr == "no luck" and error.hint == "try harder"
    assert str(error) == "sh -c 'echo '\"'\"'no luck'\"'\"' >&2; exit 3': exit status 3: no luck"


def test_a_signal_is_named() -> None:
    with pytest.raises(ProcessFailed, match="killed by SIGTERM"):
        process.run(("sh", "-c", "kill -TERM $$"))


@pytest.mark.parametrize("program", ["no-such-program-here", "/no/such/program"])
def test_an_absent_program_is_named(program: str) -> None:
    with pytest.raises(NotFound, match="no such program") as caught:
        process.run((program,))
    assert program in caught.value.hint


def test_a_program_of_no_known_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "odd"
    path.write_bytes(b"\0\1\2\3")
    path.chmod(0o755)
    with pytest.raises(Unsupported, match="cannot be started"):
        process.run((str(path),))


def test_the_environment_is_explicit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "x")
    assert "SECRET" not in process.run(("env",)).text
    assert process.run(("env",), env={"PATH": "/usr/bin", "A": "1"}).text == "PATH=/usr/bin\nA=1\n"


def test_standard_input_is_fed_whole_or_is_empty() -> None:
    data = os.urandom(1_000_000)
    assert process.run(("cat",), stdin=data).stdout == data
    assert process.run(("cat",)).stdout == b""


def test_a_child_that_does_not_read_its_input_is_no_failure() -> None:
    assert process.run(("true",), stdin=b"x" * 1_000_000).status == 0


def test_both_outputs_are_drained_however_much_they_are() -> None:
    done = process.run(("sh", "-c", "head -c 300000 /dev/zero; head -c 300000 /dev/zero >&2"))
    assert (len(done.stdout), len(done.stderr)) == (300_000, 300_000)


def test_too_much_output_is_an_error_and_ends_the_child() -> None:
    with pytest.raises(LimitExceeded, match="more than 1000 bytes"):
        process.run(("yes",), output_limit=1000)


def test_a_timeout_ends_the_whole_group(tmp_path: Path) -> None:
    mark = tmp_path / "grandchild"
    script = f"sh -c 'echo $$ > {mark}; sleep 600' & wait"
    with pytest.raises(TimedOut, match=r"no end after 0\.5 s"):
        process.run(("sh", "-c", script), timeout=0.5)
    grandchild = int(mark.read_text())
    assert _gone(grandchild)


def test_a_child_that_closed_its_outputs_still_has_to_end_in_time() -> None:
    with pytest.raises(TimedOut):
        process.run(("sh", "-c", "exec >&- 2>&-; sleep 600"), timeout=0.3)


def test_descriptors_are_passed_by_number_and_no_others(tmp_path: Path) -> None:
    with (tmp_path / "file").open("w") as stream:
        passed, kept = (fcntl.fcntl(stream, fcntl.F_DUPFD_CLOEXEC, 200) for _ in range(2))
    done = process.run(("ls", "/proc/self/fd"), pass_fds=[passed])
    os.close(passed)
    os.close(kept)
    found = {int(number) for number in done.text.split()}
    assert passed in found and kept not in found


def test_ignored_signals_are_not_inherited() -> None:
    status = process.run(("grep", "SigIgn", "/proc/self/status")).text
    assert int(status.split()[1], 16) & (1 << 12 | 1 << 24) == 0  # SIGPIPE, SIGXFSZ


def test_it_works_where_the_standard_streams_are_closed(tmp_path: Path) -> None:
    script = (
        "import os, sys\nfrom orlop.kit import process\nfor n in (0, 1, 2): os.close(n)\n"
        "done = process.run(('sh', '-c', 'cat; echo err >&2'), stdin=b'in')\n"
        "with open(sys.argv[1], 'wb') as s: s.write(done.stdout + done.stderr)\nos._exit(0)"
    )
    subprocess.run([sys.executable, "-c", script, tmp_path / "out"], check=True)
    assert (tmp_path / "out").read_bytes() == b"inerr\n"


def test_no_descriptor_is_left_open() -> None:
    before = len(os.listdir("/proc/self/fd"))
    for argv in (("true",), ("false",), ("/no/such",), ("yes",)):
        with contextlib.suppress(ProcessFailed, NotFound, LimitExceeded):
            process.run(argv, stdin=b"x", output_limit=10)
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_spawned_child_is_in_a_session_of_its_own_and_can_be_waited_for() -> None:
    child = process.spawn(("sleep", "600"))
    try:
        assert os.getsid(child.pid) == child.pid and child.poll() is None
        with pytest.raises(TimedOut):
            child.wait(0.05)
    finally:
        child.kill()
    assert child.wait() == -9 and child.poll() == -9
    child.kill()


def _gone(pid: int) -> bool:
    for _ in range(100):
        try:
            with open(f"/proc/{pid}/stat") as stream:
                if stream.read().rpartition(")")[2].split()[0] == "Z":
                    return True
        except FileNotFoundError:
            return True
        time.sleep(0.02)
    return False
