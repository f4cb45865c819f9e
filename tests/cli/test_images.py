"""`orlop image` and `orlop store`, through the program, with a real registry."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.cli.program import ORLOP, answer, orlop
from tests.support.images import Image, Layer, busybox, digest, push, tar
from tests.support.registry import Registry, registry

pytestmark = pytest.mark.host


@pytest.fixture(scope="module")
def served() -> Iterator[Registry]:
    with registry() as running:
        busybox(running)
        push(running, "small:1", Image((Layer(tar({"etc/motd": b"hello\n"})),), {"Cmd": ["true"]}))
        yield running


@pytest.fixture
def here(tmp_path: Path, served: Registry, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A node of its own, named by the environment."""
    registries = tmp_path / "registries.conf"
    registries.write_text(f'[[registry]]\nlocation = "{served.address}"\ninsecure = true\n')
    for name, value in {
        "ORLOP_ROOT": tmp_path / "root",
        "ORLOP_STATE": tmp_path / "state",
        "CONTAINERS_REGISTRIES_CONF": registries,
        "REGISTRY_AUTH_FILE": tmp_path / "auth.json",
    }.items():
        monkeypatch.setenv(name, str(value))
    yield tmp_path
    with open("/proc/self/mountinfo", encoding="utf-8") as stream:
        left = [line.split()[4] for line in stream if str(tmp_path) in line]
    for path in left:
        subprocess.run(["umount", path], check=False)
    assert not left


def pull(served: Registry, name: str) -> str:
    return orlop("image", "pull", "--tls-verify=false", served.reference(name)).stdout.strip()


def test_a_pulled_image_is_listed_inspected_tagged_and_removed(here: Path, served: Registry) -> None:
    name = served.reference("small:1")
    identity = pull(served, "small:1")
    (listed,) = answer("image", "list")
    assert listed["id"] == identity
    assert listed["names"] == [name]
    assert name in orlop("image", "list").stdout
    assert orlop("image", "list", "--quiet").stdout.strip() == identity.partition(":")[2][:12]
    (inspected,) = answer("image", "inspect", name)
    assert inspected["config"]["cmd"] == ["true"]
    assert inspected["os"] == "linux"
    assert inspected["manifest"]["config"]["digest"] == identity
    assert "cmd:" in orlop("image", "inspect", identity[7:20]).stdout
    orlop("image", "tag", name, "localhost/mine:2")
    assert set(answer("image", "list")[0]["names"]) == {name, "localhost/mine:2"}
    orlop("image", "remove", name)
    assert answer("image", "list")[0]["names"] == ["localhost/mine:2"]
    gone = answer("image", "remove", "localhost/mine:2")
    assert identity in gone["removed"]
    assert answer("image", "list") == []


def test_of_several_images_each_is_pulled_and_each_failure_told(here: Path, served: Registry) -> None:
    names = [served.reference(name) for name in ("small:1", "absent:1", "busybox:latest")]
    done = orlop("image", "pull", *names, code=3)
    assert len(done.stdout.splitlines()) == 2
    assert names[1] in done.stderr
    assert len(answer("image", "list")) == 2


def test_an_alias_names_the_image_in_every_command(here: Path, served: Registry) -> None:
    with (here / "registries.conf").open("a") as stream:
        stream.write(f'[aliases]\n"motd" = "{served.reference("small")}"\n')
    identity = orlop("image", "pull", "motd:1").stdout.strip()
    assert [image["id"] for image in answer("image", "inspect", "motd:1")] == [identity]
    orlop("image", "tag", "motd:1", "mine")
    assert orlop("image", "remove", "motd:1").stdout.strip() == served.reference("small:1")


def test_what_an_error_quotes_does_not_steer_the_terminal(here: Path) -> None:
    told = orlop("image", "inspect", "\x1b[31mred\nerror: two", code=3).stderr
    assert "\x1b" not in told
    assert "\\x1b[31mred" in told


def test_five_processes_download_an_image_once(here: Path, served: Registry) -> None:
    image = Image((Layer(tar({"etc/five": os.urandom(1 << 20)})),), {"Cmd": ["five"]})
    name = push(served, "five:1", image)
    with ThreadPoolExecutor(5) as pool:
        found = list(pool.map(lambda _: orlop("image", "pull", name).stdout.strip(), range(5)))
    assert found == [image.id] * 5
    for blob in image.blobs:
        assert served.requests(f"GET /v2/five/blobs/{digest(blob)}") == 1


def test_a_mounted_image_can_be_read_and_is_gone_when_unmounted(here: Path, served: Registry) -> None:
    pull(served, "small:1")
    path = orlop("image", "mount", served.reference("small:1")).stdout.strip()
    assert Path(path, "etc/motd").read_text() == "hello\n"
    with pytest.raises(OSError, match="Read-only"):
        Path(path, "etc/other").touch()
    assert answer("image", "mount", served.reference("small:1"))["path"] == path
    (mounted,) = answer("image", "mount")
    assert (mounted["names"], mounted["path"]) == ([served.reference("small:1")], path)
    assert path in orlop("image", "mount").stdout
    orlop("image", "unmount", served.reference("small:1"))
    assert not os.path.ismount(path)
    orlop("image", "unmount", served.reference("small:1"))
    assert answer("image", "mount") == []
    assert orlop("image", "mount", served.reference("small:1")).stdout.strip() == path
    orlop("image", "unmount", code=2)
    orlop("image", "unmount", "--all", served.reference("small:1"), code=2)
    orlop("image", "unmount", "--all")
    assert not os.path.ismount(path)


def test_several_images_are_asked_for_at_once_and_every_failure_is_told(here: Path, served: Registry) -> None:
    pull(served, "small:1")
    failed = orlop("image", "inspect", served.reference("small:1"), "nothing", "-o", "json", code=3)
    assert len(json.loads(failed.stdout)) == 1
    assert json.loads(failed.stderr)["error"] == "NotFound"  # as docs/exit-codes.md names it


def test_what_is_absent_is_an_error_of_its_own_code(here: Path, served: Registry) -> None:
    names = (served.reference("absent:1"), served.reference("small:1"))
    absent = orlop("image", "pull", "--tls-verify=false", *names, code=3)
    assert absent.stdout.startswith("sha256:")
    assert absent.stderr.startswith("error: ")
    assert "hint: " in absent.stderr
    assert orlop("image", "remove", "nothing", code=3).stderr.startswith("error: ")
    orlop("image", "remove", "--force", "nothing")
    orlop("image", "pull", "Not A Name", code=2)
    orlop("image", "pull", "--creds", "nobody", "x/y", code=2)


def test_a_store_is_checked_measured_and_pruned(here: Path, served: Registry) -> None:
    pull(served, "small:1")
    pull(served, "busybox:latest")
    report = answer("store", "check")
    assert (report["clean"], report["images"], report["problems"]) == (True, 2, [])
    usage = answer("store", "df")
    assert {row["kind"] for row in usage["rows"]} >= {"image", "layer"}
    assert usage["total"] > 0
    assert "total " in orlop("store", "df").stdout
    pruned = answer("store", "prune", "--all")
    assert len(pruned["images"]) == 2
    assert answer("store", "df")["total"] == 0


def test_a_broken_layer_is_found_by_check_and_mended_by_repair_and_pull(here: Path, served: Registry) -> None:
    pull(served, "small:1")
    _tamper(here)
    broken = orlop("store", "check", code=7)
    assert "BROKEN" in broken.stdout
    assert "hint: repair it with: orlop store check --repair" in broken.stderr
    assert answer("store", "check", "--repair")["clean"] is True
    pull(served, "small:1")
    orlop("store", "check")


def _tamper(here: Path) -> None:
    """With the content of etc/motd, in whichever form its layer is kept."""
    for path in [*here.glob("root/layers/*/diff/etc/motd"), *here.glob("root/layers/*/image")]:
        data = path.read_bytes()
        place = data.find(b"hello\n")
        if place >= 0:
            path.write_bytes(data[:place] + b"X" + data[place + 1 :])


def test_no_root_folder_is_touched_by_asking_for_help(here: Path) -> None:
    for words in (["help"], ["image", "pull", "--help"], ["version"], ["completion", "bash"]):
        orlop(*words)
    assert not (here / "root").exists()


def test_two_nodes_on_one_machine_know_nothing_of_each_other(here: Path, served: Registry) -> None:
    pull(served, "small:1")
    other = ("--root", str(here / "other"), "--state", str(here / "other-state"))
    assert json.loads(orlop(*other, "image", "list", "-o", "json").stdout) == []


def test_a_pull_ended_by_interrupt_leaves_with_130_and_goes_on_later(here: Path, served: Registry) -> None:
    import signal

    child = subprocess.Popen(
        [ORLOP, "image", "pull", "--tls-verify=false", served.reference("busybox:latest")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        child.wait(0.15)
    except subprocess.TimeoutExpired:
        child.send_signal(signal.SIGINT)
    _, stderr = child.communicate(timeout=60)
    assert child.returncode in (0, 130, -signal.SIGINT)
    assert b"Traceback" not in stderr
    pull(served, "busybox:latest")


def test_progress_is_shown_on_a_terminal_and_nowhere_else(here: Path, served: Registry) -> None:
    import pty

    def pulled(stderr: int) -> bytes:
        command = [ORLOP, "image", "pull", "--tls-verify=false", served.reference("busybox:latest")]
        return subprocess.run(command, stdout=subprocess.PIPE, stderr=stderr, check=True, timeout=60).stdout

    main, terminal = pty.openpty()
    try:
        identity = pulled(terminal)
        shown = os.read(main, 65536)
    finally:
        os.close(terminal)
        os.close(main)
    assert identity.startswith(b"sha256:")
    assert b"kB" in shown or b"MB" in shown or b"bytes" in shown
    quiet = orlop("image", "pull", "--tls-verify=false", served.reference("busybox:latest"))
    assert quiet.stderr == ""
