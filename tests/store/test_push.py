"""What was pulled is pushed as it was, and a pull after a repair fetches what was lost: real registries."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import urllib3

from tests.cli.program import answer, orlop
from tests.support.images import DOCKER, OCI, Image, Index, Layer, push, tar
from tests.support.registry import Registry, registry

pytestmark = [pytest.mark.host, pytest.mark.timeout(120)]


@pytest.fixture(params=["files", "erofs"])
def node(tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A node of its own, named by the environment."""
    (tmp_path / "orlop.toml").write_text(f'[store]\nlayers = "{request.param}"\n')
    for name, value in {
        "ORLOP_ROOT": tmp_path / "root",
        "ORLOP_STATE": tmp_path / "state",
        "ORLOP_CONFIG": tmp_path / "orlop.toml",
        "REGISTRY_AUTH_FILE": tmp_path / "auth.json",
    }.items():
        monkeypatch.setenv(name, str(value))
    yield tmp_path
    orlop("node", "down", "--purge")


def image(schema: str = OCI) -> Image:
    tars = [tar({f"d{number}/f": os.urandom(20_000), "same": b"%d" % number}) for number in range(3)]
    kinds = ("gzip", "zstd" if schema == OCI else "gzip", "")
    return Image(tuple(map(Layer, tars, kinds)), {"Cmd": ["true"]}, schema=schema)


def pull(served: Registry, name: str, *options: str) -> str:
    done = orlop("image", "pull", "--tls-verify=false", *options, served.reference(name))
    return done.stdout.strip()


def fetched(served: Registry, repository: str, what: str, digest: str) -> bytes:
    accept = {
        "Accept": "application/vnd.oci.image.manifest.v1+json, "
        "application/vnd.docker.distribution.manifest.v2+json"
    }
    answered = urllib3.request("GET", f"{served.url}/v2/{repository}/{what}/{digest}", headers=accept)
    assert answered.status == 200, answered.data
    assert f"sha256:{hashlib.sha256(answered.data).hexdigest()}" == digest
    return answered.data


@pytest.mark.parametrize("schema", [OCI, DOCKER])
@pytest.mark.parametrize("indexed", [False, True])
def test_what_was_pulled_is_pushed_with_the_same_digests(node: Path, schema: str, indexed: bool) -> None:
    made = image(schema)
    with registry() as first:
        push(first, "ship:1", Index((made,), schema=schema) if indexed else made)
        assert pull(first, "ship:1") == made.id
        name = first.reference("ship:1")
    with registry() as second:  # the first one is gone
        target = f"docker://{second.reference('team/ship:2')}"
        said = orlop("image", "push", "--tls-verify=false", name, target).stdout.strip()
        assert said == made.digest
        assert fetched(second, "team/ship", "manifests", made.digest) == made.manifest
        for blob in made.blobs:
            digest = f"sha256:{hashlib.sha256(blob).hexdigest()}"
            assert fetched(second, "team/ship", "blobs", digest) == blob


def test_a_pull_after_a_repair_brings_what_was_lost(node: Path) -> None:
    made = image()
    with registry() as served:
        push(served, "ship:1", made)
        pull(served, "ship:1")
        name = served.reference("ship:1")
        store = node / "root"
        (blob,) = [path for path in (store / "blobs/sha256").iterdir() if path.name in made.layers[0].digest]
        blob.write_bytes(blob.read_bytes()[:-1] + b"?")
        assert broken(name) == [f"blob {made.layers[0].digest}"]
        orlop("store", "check", "--repair")
        assert answer("store", "check")["problems"] == []
        assert answer("image", "inspect", name)[0]["id"] == made.id
        pull(served, "ship:1")
        assert blob.read_bytes() == made.layers[0].blob

        damage_layer(store / "layers" / "1")
        assert broken(name)[0].startswith("layer sha256:")
        orlop("store", "check", "--repair")
        orlop("image", "inspect", name, code=3)
        pull(served, "ship:1")
        assert answer("store", "check")["problems"] == []
        path = Path(orlop("image", "mount", name).stdout.strip())
        assert (path / "same").read_bytes() == b"2"
        assert all((path / f"d{number}/f").stat().st_size == 20_000 for number in range(3))
        orlop("image", "unmount", name)
        with registry() as second:
            target = f"docker://{second.reference('ship:1')}"
            orlop("image", "push", "--tls-verify=false", name, target)
            fetched(second, "ship", "manifests", made.digest)


def broken(name: str) -> list[str]:
    """What `check` complains about; each time it says whose it is."""
    done = orlop("store", "check", code=7)
    lines = [line.removeprefix("BROKEN  ") for line in done.stdout.splitlines() if line.startswith("BROKEN")]
    assert all(name in line for line in lines), lines
    return [line.partition(": ")[0] for line in lines]


def damage_layer(folder: Path) -> None:
    """One bit of a file within."""
    if (folder / "image").exists():
        with (folder / "image").open("r+b") as stream:
            stream.seek(4096 + 3000)
            byte = stream.read(1)[0]
            stream.seek(-1, os.SEEK_CUR)
            stream.write(bytes((byte ^ 1,)))
        return
    file = next(path for path in (folder / "diff").rglob("*") if path.is_file() and path.stat().st_size > 1)
    status = file.stat()
    file.write_bytes(b"?" + file.read_bytes()[1:])
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))


def settings(node: Path, keep_blobs: str) -> None:
    kept = [line for line in (node / "orlop.toml").read_text().splitlines() if "keep_blobs" not in line]
    (node / "orlop.toml").write_text("\n".join([*kept, f"keep_blobs = {keep_blobs}", ""]))


def test_layers_that_are_only_unpacked_say_so(node: Path) -> None:
    settings(node, "false")
    made = image()
    with registry() as served:
        push(served, "ship:1", made)
        pull(served, "ship:1")
        name = served.reference("ship:1")
        assert not (node / "root/blobs").exists()
        target = f"docker://{served.reference('other:1')}"
        refused = orlop("image", "push", "--tls-verify=false", name, target, code=3)
        assert "keep_blobs" in refused.stderr
        settings(node, "true")
        pull(served, "ship:1", "--policy=always")
        orlop("image", "push", "--tls-verify=false", name, target)
        fetched(served, "other", "manifests", made.digest)


def test_an_archive_within_a_layers_image_can_be_pushed_without_a_blob(node: Path) -> None:
    settings(node, "false")
    made = Image((Layer(tar({"a": b"1" * 9000}), ""),), {"Cmd": ["true"]})
    erofs = "erofs" in (node / "orlop.toml").read_text()
    with registry() as served:
        push(served, "ship:1", made)
        pull(served, "ship:1")
        name = served.reference("ship:1")
        target = f"docker://{served.reference('other:1')}"
        orlop("image", "push", "--tls-verify=false", name, target, code=0 if erofs else 3)
        if erofs:
            fetched(served, "other", "manifests", made.digest)
