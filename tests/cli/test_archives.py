"""save, load, export, import, history, tree and diff: through the program, with other programs' archives."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from orlop.kit.node import Node
from orlop.store.store import Store
from tests.cli.program import ORLOP, answer, orlop
from tests.store.layers import image_of
from tests.store.layers import put as put_image
from tests.support.images import Image, tar

pytestmark = [pytest.mark.host, pytest.mark.timeout(120)]

NAME = "docker.io/library/ship:1"
IMAGE = image_of(tar({"a": b"1", "gone": b"x"}), tar({"b": b"2", ".wh.gone": b""}), compression="gzip")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Stand in an empty folder, with a node of its own that has one image."""
    for name in ("ORLOP_ROOT", "ORLOP_STATE"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.chdir(tmp_path)
    put(IMAGE, NAME)
    yield tmp_path
    orlop("node", "down", "--purge")


def put(image: Image, name: str) -> None:
    store = Store(Node(os.environ["ORLOP_ROOT"], os.environ["ORLOP_STATE"]))
    put_image(store, image, name)
    store.close()


@pytest.mark.parametrize("kind", ["docker-archive", "oci-archive"])
def test_what_was_saved_is_loaded(here: Path, kind: str) -> None:
    orlop("image", "save", "--format", kind, "ship:1", "-o", "ship.tar")
    said = subprocess.run(
        ["skopeo", "inspect", f"{kind}:ship.tar"], check=True, stdout=subprocess.PIPE
    ).stdout
    assert len(json.loads(said)["Layers"]) == 2
    orlop("image", "remove", "ship:1")
    (loaded,) = answer("image", "load", "-i", "ship.tar")
    assert (loaded["id"], loaded["name"]) == (IMAGE.id, NAME)
    if kind == "oci-archive":  # the other one holds layers unpacked, by its definition
        assert loaded["digest"] == IMAGE.digest
    assert os.listdir(here / "ORLOP_ROOT" / "tmp") == []


def test_an_image_of_several_names_is_saved_by_the_one_that_was_given(here: Path) -> None:
    orlop("tag", "ship:1", "aboard:1")
    orlop("tag", "ship:1", "zebra")
    for given, name in (("ship:1", NAME), ("zebra", "docker.io/library/zebra:latest")):
        orlop("save", given, "-o", "one.tar")
        assert orlop("image", "list-tags", "docker-archive:one.tar").stdout.split() == [name]


def test_through_pipes_with_another_name(here: Path) -> None:
    saved = subprocess.run([ORLOP, "image", "save", "ship:1"], check=True, stdout=subprocess.PIPE).stdout
    done = orlop("image", "load", "--name", "boat:2", stdin=saved)
    assert done.stdout.strip() == IMAGE.id
    assert "docker.io/library/boat:2" in answer("image", "list")[0]["names"]
    assert os.listdir(here / "ORLOP_ROOT" / "tmp") == []


def test_podman_loads_what_we_save_and_we_load_what_it_saves(here: Path) -> None:
    runroot = tempfile.mkdtemp(prefix="orlop-")  # which must be short
    try:
        with_podman(["podman", "--root", str(here / "p"), "--runroot", runroot, "--storage-driver", "vfs"])
    finally:
        shutil.rmtree(runroot)


def with_podman(podman: list[str]) -> None:
    orlop("image", "save", "ship:1", "-o", "ship.tar")
    subprocess.run([*podman, "load", "-q", "-i", "ship.tar"], check=True, stdout=subprocess.PIPE)
    said = subprocess.run(
        [*podman, "images", "--format", "{{.Id}}", "--no-trunc", "ship:1"], check=True, stdout=subprocess.PIPE
    )
    assert said.stdout.decode().strip().removeprefix("sha256:") == IMAGE.id.removeprefix("sha256:")
    subprocess.run([*podman, "save", "-q", "-o", "theirs.tar", "ship:1"], check=True)
    orlop("image", "remove", "ship:1")
    assert [found["name"] for found in answer("image", "load", "-i", "theirs.tar")] == [NAME]
    subprocess.run([*podman, "rmi", "-f", "ship:1"], check=True, stdout=subprocess.PIPE)


@pytest.mark.parametrize(
    ("arguments", "code", "word"),
    [
        (("load", "-i", "absent.tar"), 3, "no such file"),
        (("load", "-i", "nonsense.tar"), 7, "nonsense.tar"),
        (("save", "nobody", "-o", "x.tar"), 3, "no such image"),
        (("save", "ship:1", "-o", "no/such/folder.tar"), 3, "No such file"),
        (("export", "nobody", "-o", "x.tar"), 3, "no such image"),
        (("export", "ship:1", "-o", "no/such/folder.tar"), 6, "folder"),
        (("import", "absent.tar", "x:1"), 3, "no such file"),
        (("import", ".", "x:1"), 2, "is a folder"),
        (("import", "nonsense.tar", "x:1"), 7, "archive"),
        (("import", "nonsense.tar", "UPPER:1"), 2, "UPPER"),
        (("import", "nonsense.tar", "x:1", "--change", "RUN true"), 2, "--change"),
        (("import", "nonsense.tar", "x:1", "--change", "EXPOSE nowhere"), 2, "nowhere"),
        (("import", "nonsense.tar", "x:1", "--platform", "no/such/thing/at/all"), 2, "platform"),
        (("diff", "ship:1", "nobody"), 3, "no such image"),
        (("tree", "nobody"), 3, "no such image"),
        (("history", "nobody"), 3, "no such image"),
    ],
)
def test_what_cannot_be_says_so(here: Path, arguments: tuple[str, ...], code: int, word: str) -> None:
    (here / "nonsense.tar").write_bytes(b"no archive at all" * 1000)
    refused = orlop("image", *arguments, code=code)
    assert word in refused.stderr
    assert "hint: " in refused.stderr
    assert sorted(os.listdir(here)) == ["ORLOP_ROOT", "ORLOP_STATE", "nonsense.tar"]
    assert [image["names"] for image in answer("image", "list")] == [[NAME]]


def test_an_exported_root_becomes_an_image_with_what_is_changed(here: Path) -> None:
    orlop("image", "export", "ship:1", "-o", "root.tar")
    with tarfile.open("root.tar") as archive:
        assert archive.getnames() == [".", "a", "b"]
    changes = (
        'CMD ["run", "it"]',
        "ENV A=1 B=two",
        "ENV C=$A",
        "LABEL x=y",
        "USER 7",
        "WORKDIR /srv",
        "WORKDIR app",
        "EXPOSE 80",
        "VOLUME /data",
        "STOPSIGNAL SIGINT",
        "ENTRYPOINT /bin/entry",
    )
    options = [word for change in changes for word in ("--change", change)]
    env = {"SOURCE_DATE_EPOCH": "1700000000"}
    (here / "root.tar.gz").write_bytes(gzip.compress((here / "root.tar").read_bytes(), mtime=0))
    first = orlop("image", "import", "root.tar.gz", "app:1", *options, "-m", "made", env=env).stdout
    again = orlop("image", "import", "root.tar.gz", "app:2", *options, "-m", "made", env=env).stdout
    assert first == again
    (found,) = answer("image", "inspect", "app:1")
    config = found["config"]
    assert config["env"] == ["A=1", "B=two", "C=1"]
    assert (config["cmd"], config["entrypoint"]) == (["run", "it"], ["/bin/sh", "-c", "/bin/entry"])
    assert (config["user"], config["working_dir"], config["stop_signal"]) == ("7", "/srv/app", "SIGINT")
    assert (config["exposed_ports"], config["volumes"], config["labels"]) == (
        ["80/tcp"],
        ["/data"],
        {"x": "y"},
    )
    assert found["created"] == "2023-11-14T22:13:20Z"
    (step,) = answer("image", "history", "app:1")
    assert (step["comment"], step["size"], step["empty"]) == ("made", 2, False)
    assert answer("image", "diff", "ship:1", "app:1") == []
    arm = orlop("image", "import", "root.tar", "app:3", "--platform", "linux/arm64/v8").stdout.strip()
    assert (answer("image", "inspect", arm)[0]["architecture"]) == "arm64"


def test_history_tree_and_diff_are_shown_to_people(here: Path) -> None:
    put(image_of(tar({"a": b"1", "gone": b"x"}), compression="gzip"), "docker.io/library/base:1")
    history = orlop("image", "history", "--no-trunc", "ship:1").stdout.splitlines()
    assert len(history) == 3
    assert "orlop tests" in history[1]
    lines = orlop("image", "tree").stdout.splitlines()
    assert len(lines) == 2
    assert "[base:1]" in lines[0]
    assert lines[1].startswith("└─ ")
    assert "[ship:1]" in lines[1]
    assert orlop("image", "diff", "base:1", "ship:1").stdout == "A /b  (1 B)\nD /gone  (1 B)\n"
    assert orlop("image", "diff", "ship:1").stdout == "A /b  (1 B)\nD /gone  (1 B)\n"
    (branch,) = answer("image", "tree", "ship:1")
    assert branch["above"][0]["images"] == [{"id": IMAGE.id, "names": [NAME]}]


def test_a_reader_that_leaves_is_no_error_of_the_store(here: Path) -> None:
    put(image_of(tar({"big": bytes(3_000_000)})), "docker.io/library/big:1")
    with subprocess.Popen(
        [ORLOP, "image", "export", "big:1"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        child.stdout.read(10)
        child.stdout.close()
        assert child.stderr.read() == b""
        assert child.wait(30) == 141
    assert os.listdir(here / "ORLOP_ROOT" / "tmp") == []


def listed(*filters: str) -> list[str]:
    """The tags that `image list` shows with these filters."""
    options = [word for one in filters for word in ("--filter", one)]
    return sorted(
        name.rpartition("/")[2] for found in answer("image", "list", *options) for name in found["names"]
    )


def test_lists_are_narrowed_by_filters(here: Path) -> None:
    orlop("image", "export", "ship:1", "-o", "root.tar")
    for number, label in enumerate(("a=1", "a=2", "b=1")):
        env = {"SOURCE_DATE_EPOCH": str(1_700_000_000 + number)}
        options = ("--change", f"LABEL all=yes {label}")
        orlop("image", "import", "root.tar", f"example.org/team/app{number}:v{number}", *options, env=env)
    everything = ["app0:v0", "app1:v1", "app2:v2", "ship:1"]
    assert listed() == everything
    assert listed("label=a") == ["app0:v0", "app1:v1"]
    assert listed("label=a=2", "label=all=yes") == ["app1:v1"]
    assert listed("label=a", "label=b") == []
    assert listed("reference=ship") == listed("reference=docker.io/library/s*") == ["ship:1"]
    assert listed("reference=app*:v1", "reference=ship:1") == ["app1:v1", "ship:1"]
    assert listed("reference=example.org/team/*") == everything[:3]
    assert listed("before=example.org/team/app1:v1") == ["app0:v0"]
    assert listed("since=example.org/team/app1:v1") == ["app2:v2", "ship:1"]
    assert listed("dangling=false") == everything
    assert answer("image", "list", "--filter", "dangling=true") == []
    assert IMAGE.digest in orlop("image", "list", "--digests").stdout
    for wrong in ("colour=red", "dangling=maybe", "label", "reference="):
        orlop("image", "list", "--filter", wrong, code=2)
    orlop("image", "list", "--filter", "before=nobody", code=3)
