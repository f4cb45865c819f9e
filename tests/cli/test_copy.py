"""`orlop image copy`, push, list-tags, delete, inspect, login and logout, through the program."""

from __future__ import annotations

import hashlib
import json
import os
import pty
import shutil
import signal
import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.program import ORLOP, answer, orlop
from tests.image.faulty import faulty, stall
from tests.support.images import Image, Index, Layer, push, tar
from tests.support.registry import Registry, registry

pytestmark = pytest.mark.host


def image(architecture: str = "amd64") -> Image:
    layers = (Layer(tar({"etc/motd": b"hello\n" * 5000})), Layer(tar({"etc/more": b"more\n"}), "zstd"))
    return Image(layers, {"Cmd": ["true"]}, architecture=architecture)


INDEX = Index((image(), image("arm64")))


@pytest.fixture(scope="module")
def served() -> Iterator[Registry]:
    with registry() as running:
        push(running, "small:1", INDEX)
        yield running


@pytest.fixture
def here(tmp_path: Path, served: Registry, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A node of its own, named by the environment, that may speak plain HTTP with the registry."""
    registries = tmp_path / "registries.conf"
    registries.write_text(f'[[registry]]\nlocation = "{served.address}"\ninsecure = true\n')
    for name, value in {
        "HOME": tmp_path,
        "ORLOP_ROOT": tmp_path / "root",
        "ORLOP_STATE": tmp_path / "state",
        "CONTAINERS_REGISTRIES_CONF": registries,
        "REGISTRY_AUTH_FILE": tmp_path / "auth.json",
    }.items():
        monkeypatch.setenv(name, str(value))
    return tmp_path


def sha(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def printed(*arguments: str) -> bytes:
    """Standard output, byte for byte."""
    return subprocess.run([ORLOP, *arguments], capture_output=True, check=True, timeout=60).stdout


def test_an_image_goes_from_anywhere_to_anywhere(here: Path, served: Registry) -> None:
    name = f"docker://{served.reference('small:1')}"
    told = answer(
        "image", "copy", "--all", name, f"oci:{here}/layout:small", "--digestfile", f"{here}/digest"
    )
    assert told["digest"] == INDEX.digest == (here / "digest").read_text()
    assert told["manifests"] == 3
    to = f"docker://{served.reference('other/small:1')}"
    done = orlop("image", "copy", "--all", "--preserve-digests", f"oci:{here}/layout:small", to)
    assert done.stdout.strip() == INDEX.digest
    assert orlop("image", "copy", "--quiet", name, f"dir:{here}/dir").stdout == ""
    orlop("image", "copy", f"dir:{here}/dir", f"docker-archive:{here}/a.tar:small:1")
    orlop("image", "copy", f"docker-archive:{here}/a.tar", "store:from-archive:1")
    assert answer("image", "list")[0]["id"] == image().id
    refused = orlop("image", "copy", "--all", name, "store:x:1", code=9)
    assert "one platform" in refused.stderr
    assert "names no transport" in orlop("image", "copy", "small:1", to, code=2).stderr
    assert "contradicts" in orlop("image", "copy", "--all", "--platform", "arm64", name, to, code=2).stderr


def test_platforms_and_compression_are_chosen(here: Path, served: Registry) -> None:
    name = f"docker://{served.reference('small:1')}"
    orlop(
        "image",
        "copy",
        "--platform",
        "linux/arm64",
        "--compress",
        "zstd",
        "--level",
        "5",
        name,
        f"oci:{here}/l:x",
    )
    manifest = json.loads(printed("image", "inspect", "--raw", f"oci:{here}/l:x"))
    assert manifest["config"]["digest"] == image("arm64").id
    assert {layer["mediaType"][-4:] for layer in manifest["layers"]} == {"zstd"}
    kept = [name, f"oci:{here}/l:y", "--compress", "gzip", "--preserve-digests"]
    assert "digest would not be preserved" in orlop("image", "copy", *kept, code=4).stderr
    assert "no level" in orlop("image", "copy", name, f"dir:{here}/d", "--level", "5", code=2).stderr


def test_what_was_pulled_is_pushed_with_its_digest(here: Path, served: Registry) -> None:
    name = served.reference("small:1")
    orlop("image", "pull", name)
    told = answer("push", name, served.reference("pushed/small:2"))
    assert told["digest"] == image().digest
    seen = printed("image", "inspect", "--raw", f"docker://{served.reference('pushed/small:2')}")
    assert sha(seen) == image().digest == sha(printed("image", "inspect", "--raw", name))
    pushed = served.reference("pushed/small:2")
    orlop("image", "tag", name, pushed)
    again = answer("image", "push", pushed)  # to where its name says
    assert (again["sent"], again["there"]) == (0, 3)
    assert orlop("push", "nothing:1", code=3).returncode == 3
    assert orlop("image", "list-tags", served.reference("pushed/small")).stdout == "2\n"


def test_images_elsewhere_are_inspected_without_a_pull(here: Path, served: Registry) -> None:
    name = f"docker://{served.reference('small:1')}"
    (found,) = answer("image", "inspect", name)
    assert (found["id"], found["digest"]) == (image().id, image().digest)
    assert found["digests"] == [INDEX.digest, image().digest]
    assert found["config"]["cmd"] == ["true"]
    assert found["architecture"] == "amd64"
    assert printed("image", "inspect", "--raw", name) == INDEX.manifest
    assert printed("image", "inspect", "--config", name) == image().config_bytes
    assert printed("image", "inspect", name, "--config", "--platform", "arm64") == image("arm64").config_bytes
    assert answer("image", "list") == []
    orlop("image", "pull", served.reference("small:1"))
    assert printed("image", "inspect", "--config", served.reference("small:1")) == image().config_bytes
    assert printed("image", "inspect", "--raw", f"store:{served.reference('small:1')}") == image().manifest
    (here / "none.toml").touch()
    # --config with a value is still the configuration, on both sides of the command.
    for words in (
        ["--config", f"{here}/none.toml", "image", "inspect"],
        ["image", "inspect", f"--config={here}/none.toml"],
    ):
        assert answer(*words, served.reference("small:1"))[0]["id"] == image().id


def test_tags_are_listed_and_images_deleted(here: Path, served: Registry) -> None:
    name = served.reference("gone/small")
    for tag in ("1", "2"):
        orlop("image", "copy", f"docker://{served.reference('small:1')}", f"docker://{name}:{tag}")
    assert sorted(answer("image", "list-tags", f"docker://{name}")["tags"]) == ["1", "2"]
    assert orlop("image", "delete", f"docker://{name}:1").stdout.strip() == image().digest
    assert orlop("image", "delete", f"docker://{name}:2", code=3).returncode == 3
    orlop("image", "copy", f"docker://{served.reference('small:1')}", f"oci:{here}/layout:x")
    assert answer("image", "delete", f"oci:{here}/layout:x")["digest"] == image().digest
    assert orlop("image", "inspect", f"oci:{here}/layout:x", code=None).returncode != 0
    assert "orlop image remove" in orlop("image", "delete", "store:x", code=9).stderr


def test_logging_in_and_out(here: Path) -> None:
    with registry(users={"ada": "secret"}) as guarded:
        where = ["--tls-verify", "false", guarded.address]
        wrong = orlop("login", "-u", "ada", "--password-stdin", *where, stdin=b"no\n", code=5)
        assert "refuses the credentials" in wrong.stderr
        assert not (here / "auth.json").exists()
        assert "terminal" in orlop("login", *where, code=2).stderr
        told = orlop("login", "--username", "ada", "--password-stdin", *where, stdin=b"secret\n")
        assert "logged in" in told.stdout
        assert stat.S_IMODE((here / "auth.json").stat().st_mode) == 0o600
        target = f"docker://{guarded.address}/app:1"
        push(guarded, "first:1", image())
        source = f"docker://{guarded.address}/first:1"
        both = ["--tls-verify", "false"]
        orlop("image", "copy", *both, source, target)
        orlop("image", "logout", guarded.address)
        assert orlop("image", "copy", *both, source, target, code=5).returncode == 5
        orlop("image", "copy", *both, "--creds", "ada:secret", source, target)
        split = ["--src-creds", "ada:secret", "--dest-creds", "ada:wrong"]
        assert orlop("image", "copy", *both, *split, source, f"{target}2", code=5).returncode == 5
        assert orlop("logout", guarded.address, code=3).returncode == 3
        orlop("logout", "--all")


def test_certificates_are_taken_from_a_folder_that_is_named(here: Path) -> None:
    with registry(tls=True, users={"ada": "secret"}) as guarded:
        assert guarded.authority is not None
        folder = here / "certs"
        folder.mkdir()
        shutil.copy(guarded.authority.file, folder / "ca.crt")
        push(guarded, "small:1", INDEX)
        name, told = guarded.reference("small:1"), f"--cert-dir={folder}"
        orlop("image", "list-tags", name, code=6)
        orlop("image", "list-tags", name, f"--cert-dir={here}/nowhere", code=2)
        orlop("login", "-u", "ada", "--password-stdin", guarded.address, stdin=b"secret", code=6)
        orlop("login", "-u", "ada", "--password-stdin", guarded.address, told, stdin=b"secret")
        orlop("login", "-u", "ada", "-p", "wrong", guarded.address, told, code=5)
        orlop("login", "-u", "ada", "-p", "secret", "--password-stdin", guarded.address, told, code=2)
        orlop("login", "-u", "ada", "-p", "secret", guarded.address, told)
        assert orlop("image", "list-tags", name, told).stdout == "1\n"
        assert answer("image", "inspect", f"docker://{name}", told)[0]["digest"] == INDEX.members[0].digest
        assert orlop("pull", name, told).stdout.strip() == image().id
        to = guarded.reference("small:2")
        assert orlop("push", name, to, told).stdout.strip() == INDEX.members[0].digest
        orlop("image", "copy", f"docker://{name}", f"dir:{here}/d", f"--src-cert-dir={folder}")
        orlop("image", "copy", f"dir:{here}/d", f"docker://{to}", f"--src-cert-dir={folder}", code=6)
        orlop("image", "copy", f"dir:{here}/d", f"docker://{to}", f"--dest-cert-dir={folder}")
        orlop("image", "delete", f"docker://{to}", told)


def test_each_name_of_an_image_lists_and_pushes_its_own_digest(here: Path, served: Registry) -> None:
    """The same config, packed otherwise: one image, two manifests."""
    other, again = served.reference("names:zstd"), served.reference("names:again")
    orlop(
        "image", "copy", "--compress", "zstd", f"docker://{served.reference('small:1')}", f"docker://{other}"
    )
    names = (served.reference("small:1"), other)
    digests = [sha(printed("image", "inspect", "--raw", f"docker://{other}")), INDEX.members[0].digest]
    orlop("pull", *names)
    assert len(answer("images")) == 1
    listed = {row.split()[0]: row.split()[1] for row in orlop("images", "--digests").stdout.splitlines()[1:]}
    assert listed == dict(zip(names, reversed(digests), strict=True))
    for name in names:
        assert orlop("push", "--preserve-digests", name, again).stdout.strip() == listed[name]
        assert sha(printed("image", "inspect", "--raw", name)) == listed[name]
        assert answer("image", "inspect", name)[0]["digest"] == listed[name]


def test_a_terminal_is_asked_for_user_and_password(here: Path) -> None:
    with registry(users={"ada": "secret"}) as guarded:
        pid, terminal = pty.fork()
        if pid == 0:
            os.execv(ORLOP, [ORLOP, "login", "--tls-verify=false", guarded.address])
        said = b""
        for prompt, reply in ((b"Username: ", b"ada\n"), (b"Password: ", b"secret\n")):
            while prompt not in said:
                said += os.read(terminal, 1000)
            os.write(terminal, reply)
        try:
            while chunk := os.read(terminal, 1000):
                said += chunk
        except OSError:  # the other end of a terminal is gone
            pass
        os.close(terminal)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0, said
        assert b"secret" not in said
        assert guarded.address in json.loads((here / "auth.json").read_text())["auths"]


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_interrupted_copy_leaves_the_earlier_image(
    here: Path, served: Registry, ending: signal.Signals
) -> None:
    orlop("image", "copy", f"docker://{served.reference('small:1')}", f"oci:{here}/layout:x")
    other = Image((Layer(tar({"f": b"other" * 100_000})),))
    with faulty(other) as server:
        server.always[f"blobs/{other.layers[0].digest}"] = stall(30, after=100)
        source = f"docker://{server.reference()}"
        child = subprocess.Popen(
            [ORLOP, "image", "copy", "--tls-verify=false", source, f"oci:{here}/layout:x"],
            stderr=subprocess.PIPE,
        )
        deadline = time.monotonic() + 20
        while not server.asked(other.layers[0].digest) and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(0.1)
        child.send_signal(ending)
        assert child.wait(15) != 0
        assert child.stderr is not None
        child.stderr.close()
    assert sha(printed("image", "inspect", "--raw", f"oci:{here}/layout:x")) == image().digest
    if ending == signal.SIGINT:
        assert set(os.listdir(here / "layout")) == {"blobs", "index.json", "oci-layout"}
