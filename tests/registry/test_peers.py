"""What others push and pull here: skopeo, podman, buildah, containerd, and Orlop itself."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from bench.peers import containerd, podman
from orlop.kit import process
from orlop.registry import passwords
from tests.registry.support import (
    MANIFEST,
    Client,
    Running,
    descriptor,
    digest,
    orlop,
    serving,
    temporary_root,
)
from tests.support.images import Image, Index, Layer, tar, write_layout

pytestmark = pytest.mark.host

_LAYERS = (
    Layer(tar({"etc/motd": b"hello\n"}), "gzip"),
    Layer(tar({"bin/large": os.urandom(2_000_000)}), "zstd"),
    Layer(tar({"etc/last": b"plain"}), ""),
)
_SAME = ("--preserve-digests", "--dest-tls-verify=false")
_IMAGE = Image(_LAYERS, config={"Cmd": ["/bin/sh"]})


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("layout") / "oci"
    gzip = Image(_LAYERS[:1], config={"Cmd": ["/bin/sh"]})
    return write_layout(path, {"image": _IMAGE, "gzip": gzip})


def _run(*argv: str, env: Mapping[str, str] | None = None) -> str:
    done = subprocess.run(
        argv, capture_output=True, text=True, timeout=170, check=False, env={**os.environ, **(env or {})}
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.fixture
def short() -> Iterator[Path]:
    """podman takes 50 characters of its state's path."""
    with tempfile.TemporaryDirectory(prefix="or-", dir="/tmp") as folder:
        yield Path(folder)


@pytest.fixture
def client(running: Running) -> Iterator[Client]:
    found = running.client()
    yield found
    found.close()


def test_skopeo_copies_in_and_out_with_the_same_digest(
    running: Running, client: Client, layout: Path, tmp_path: Path
) -> None:
    name = f"docker://{running.address}/skopeo/image:1"
    _run("skopeo", "copy", "--preserve-digests", "--dest-tls-verify=false", f"oci:{layout}:image", name)
    assert client.ask("GET", "/v2/skopeo/image/manifests/1").body == _IMAGE.manifest
    target = tmp_path / "back"
    _run("skopeo", "copy", "--preserve-digests", "--src-tls-verify=false", name, f"dir:{target}")
    assert (target / "manifest.json").read_bytes() == _IMAGE.manifest
    for data in _IMAGE.blobs:
        assert (target / digest(data).partition(":")[2]).read_bytes() == data


def test_skopeo_lists_inspects_and_deletes(running: Running, client: Client, layout: Path) -> None:
    name = f"docker://{running.address}/skopeo/managed"
    for tag in ("1", "2"):
        _run("skopeo", "copy", "--dest-tls-verify=false", f"oci:{layout}:gzip", f"{name}:{tag}")
    assert json.loads(_run("skopeo", "list-tags", "--tls-verify=false", name))["Tags"] == ["1", "2"]
    found = json.loads(_run("skopeo", "inspect", "--tls-verify=false", f"{name}:1"))
    assert found["RepoTags"] == ["1", "2"]
    _run("skopeo", "delete", "--tls-verify=false", f"{name}:1")
    assert client.ask("GET", "/v2/skopeo/managed/manifests/1").status == 404


def test_skopeo_converts_formats_and_mounts_between_repositories(
    running: Running, client: Client, layout: Path
) -> None:
    first, second = (f"docker://{running.address}/skopeo/{name}:1" for name in ("first", "second"))
    options = ("--src-tls-verify=false", "--dest-tls-verify=false")
    _run("skopeo", "copy", *options, "--format", "v2s2", f"oci:{layout}:gzip", first)
    _run("skopeo", "copy", *options, first, second)
    kind = client.ask("HEAD", "/v2/skopeo/second/manifests/1").headers["content-type"]
    assert kind == "application/vnd.docker.distribution.manifest.v2+json"
    mounted = [line for line in running.log.splitlines() if "skopeo/second" in line and "mount=" in line]
    assert any(" 201" in line for line in mounted)


def test_skopeo_copies_all_of_an_index(running: Running, client: Client, tmp_path: Path) -> None:
    members = tuple(
        Image((Layer(tar({"arch": arch.encode()}), "gzip"),), architecture=arch)
        for arch in ("amd64", "arm64")
    )
    index = Index(members)
    layout = write_layout(tmp_path / "oci", {"all": index})
    name = f"docker://{running.address}/skopeo/index:1"
    _run("skopeo", "copy", "--all", "--dest-tls-verify=false", f"oci:{layout}:all", name)
    assert client.ask("GET", "/v2/skopeo/index/manifests/1").body == index.manifest
    back = tmp_path / "back"
    _run("skopeo", "copy", "--all", "--src-tls-verify=false", name, f"dir:{back}")
    assert (back / "manifest.json").read_bytes() == index.manifest


def test_podman_and_buildah_push_and_pull(
    running: Running, client: Client, layout: Path, short: Path
) -> None:
    with podman(short / "p", running.address) as peer:
        buildah = ["buildah", *peer.storage()]
        peer.run("pull", "--quiet", f"oci:{layout}:gzip")
        image = peer.run("images", "--quiet", "--no-trunc").stdout.decode().split()[0]
        peer.run("push", "--quiet", image, f"{running.address}/podman/image:1")
        process.run([*buildah, "push", image, f"docker://{running.address}/buildah/image:1"], env=peer.env)
        for name in ("podman/image", "buildah/image"):
            manifest = client.ask("GET", f"/v2/{name}/manifests/1").json
            assert manifest["config"]["digest"] == image
        peer.run("rmi", "--all", "--force")
        pulled = peer.run("pull", "--quiet", f"{running.address}/podman/image:1").stdout.decode().split()[-1]
        assert image.endswith(pulled)
        peer.run("rmi", "--all", "--force")
        argv = [*buildah, "pull", "--quiet", f"{running.address}/buildah/image:1"]
        assert image.endswith(process.run(argv, env=peer.env).stdout.decode().split()[-1])


def test_containerd_pushes_and_pulls(running: Running, client: Client, layout: Path) -> None:
    _run(
        "skopeo",
        "copy",
        "--dest-tls-verify=false",
        f"oci:{layout}:image",
        f"docker://{running.address}/ctr/a:1",
    )
    with (
        tempfile.TemporaryDirectory(prefix="on-") as short,  # a socket's path has at most 107 bytes
        containerd(Path(short, "containerd")) as peer,
    ):
        source, target = f"{running.address}/ctr/a:1", f"{running.address}/ctr/b:2"
        process.run(peer.argv("image", "pull", "--plain-http", "--local", source), timeout=120)
        process.run(peer.argv("image", "tag", source, target))
        process.run(peer.argv("image", "push", "--plain-http", "--local", target), timeout=120)
        assert (
            client.ask("GET", "/v2/ctr/b/manifests/2").body == client.ask("GET", "/v2/ctr/a/manifests/1").body
        )
        process.run(peer.argv("image", "rm", "--sync", source, target))
        process.run(peer.argv("image", "pull", "--plain-http", "--local", target), timeout=120)


def test_orlop_pulls_from_it(running: Running, client: Client, layout: Path) -> None:
    name = f"{running.address}/orlop/image:1"
    _run(
        "skopeo",
        "copy",
        "--preserve-digests",
        "--dest-tls-verify=false",
        f"oci:{layout}:image",
        f"docker://{name}",
    )
    done = orlop(running.node, "--output", "json", "image", "pull", "--tls-verify=false", name)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)[0]["digest"] == digest(_IMAGE.manifest)


def test_orlop_pushes_copies_lists_and_deletes(running: Running, client: Client, layout: Path) -> None:
    name = f"{running.address}/orlop/pushed"
    steps = (
        ("image", "copy", "--quiet", f"oci:{layout}:image", f"docker://{name}:1"),
        ("image", "pull", "--quiet", f"{name}:1"),
        ("image", "push", "--quiet", f"{name}:1", f"{name}:2"),
        ("image", "copy", "--quiet", f"docker://{name}:1", f"docker://{running.address}/orlop/copied:1"),
    )
    with temporary_root() as node:
        conf = Path(node.config).with_name("registries.conf")
        conf.write_text(f'[[registry]]\nlocation = "{running.address}"\ninsecure = true\n')
        env = {"CONTAINERS_REGISTRIES_CONF": str(conf)}
        for step in steps:
            done = orlop(node, *step, env=env)
            assert done.returncode == 0, (step, done.stderr)
        for path in ("orlop/pushed/manifests/1", "orlop/pushed/manifests/2", "orlop/copied/manifests/1"):
            assert client.ask("GET", f"/v2/{path}").body == _IMAGE.manifest
        assert b"2" in orlop(node, "image", "list-tags", f"docker://{name}", env=env).stdout.split()
        assert orlop(node, "image", "delete", f"docker://{name}:2", env=env).returncode == 0
        assert client.ask("GET", "/v2/orlop/pushed/manifests/2").status == 404
    mounts = [line for line in running.log.splitlines() if "orlop/copied" in line and "mount=" in line]
    assert any(" 201" in line for line in mounts)


def test_blobs_that_were_pulled_to_the_same_node_are_stored_once(running: Running, layout: Path) -> None:
    name = f"{running.address}/orlop/once:1"
    _run(
        "skopeo",
        "copy",
        "--preserve-digests",
        "--dest-tls-verify=false",
        f"oci:{layout}:image",
        f"docker://{name}",
    )
    before = {path.name: path.stat().st_ino for path in Path(running.node.root, "blobs", "sha256").iterdir()}
    assert orlop(running.node, "image", "pull", "--tls-verify=false", name).returncode == 0
    after = {path.name: path.stat().st_ino for path in Path(running.node.root, "blobs", "sha256").iterdir()}
    large = digest(_LAYERS[1].blob).partition(":")[2]
    assert before[large] == after[large]
    assert not running.store().check().problems


def test_a_blob_that_lies_within_a_mountable_layer_is_served_from_there(
    running: Running, layout: Path
) -> None:
    """An uncompressed layer that the node keeps as EROFS is stored once: its tar is part of another file."""
    name = f"{running.address}/orlop/within:1"
    _run(
        "skopeo",
        "copy",
        "--preserve-digests",
        "--dest-tls-verify=false",
        f"oci:{layout}:image",
        f"docker://{name}",
    )
    plain = _LAYERS[2].blob
    with temporary_root() as node:
        Path(node.config).write_text('[store]\nlayers = "erofs"\n')
        done = orlop(node, "image", "pull", "--tls-verify=false", name)
        if b"Unsupported" in done.stderr or b"cannot mount" in done.stderr:
            pytest.skip("no EROFS here")
        assert done.returncode == 0, done.stderr
        with serving(node=node) as second:
            client = second.client()
            blob = client.push_blob("a", plain)
            assert not Path(node.root, "blobs", "sha256", blob.partition(":")[2]).exists()
            path = f"/v2/a/blobs/{blob}"
            assert client.ask("GET", path).body == plain
            assert client.ask("GET", path, headers={"Range": "bytes=100-199"}).body == plain[100:200]
            assert client.ask("GET", path, headers={"Range": "bytes=-1"}).body == plain[-1:]
            assert not second.store().check().problems


def test_passwords_with_skopeo_podman_and_ourselves(layout: Path, tmp_path: Path, short: Path) -> None:
    users = tmp_path / "users"
    passwords.write(str(users), "ada", "secret")
    with serving("--users", str(users), "--anonymous", "pull") as running:
        name = f"{running.address}/private/image:1"
        copy = ("skopeo", "copy", "--dest-tls-verify=false", f"oci:{layout}:gzip", f"docker://{name}")
        auth = {"REGISTRY_AUTH_FILE": str(tmp_path / "none.json")}
        refused = subprocess.run(copy, capture_output=True, check=False, env={**os.environ, **auth})
        assert refused.returncode != 0
        _run(*copy, "--dest-creds", "ada:secret", env=auth)
        with podman(short / "p", running.address) as peer:
            peer.run("pull", "--quiet", name)  # without a name: what anonymous clients may
            peer.run(
                "login", "--username", "ada", "--password", "secret", "--tls-verify=false", running.address
            )
            image = peer.run("images", "--quiet", "--no-trunc").stdout.decode().split()[0]
            peer.run("push", "--quiet", image, f"{running.address}/private/again:1")
        done = orlop(running.node, "image", "pull", "--tls-verify=false", "--creds", "ada:secret", name)
        assert done.returncode == 0, done.stderr
        assert orlop(running.node, "image", "pull", "--tls-verify=false", name).returncode == 0


def test_artifacts_as_oras_pushes_them(client: Client, name: str) -> None:
    """An image, then an artifact that refers to it: blobs by POST and PUT, the manifest by digest."""
    image = client.push_image(name, "app")
    content = b'{"spdxVersion": "SPDX-2.3"}'
    for data in (content, b"{}"):
        if client.ask("HEAD", f"/v2/{name}/blobs/{digest(data)}").status == 404:
            where = client.begin(name)
            assert client.ask("PUT", f"{where}?digest={digest(data).replace(':', '%3A')}", data).status == 201
    artifact = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": "application/spdx+json",
        "config": descriptor("application/vnd.oci.empty.v1+json", b"{}"),
        "layers": [descriptor("application/spdx+json", content)],
        "subject": descriptor(MANIFEST, image),
        "annotations": {"org.opencontainers.image.created": "2026-01-02T03:04:05Z"},
    }
    own = digest(json.dumps(artifact).encode())
    assert client.put_manifest(name, own, artifact).headers["oci-subject"] == digest(image)
    for query in ("", "?artifactType=application/spdx%2Bjson", "?artifactType=application/spdx+json"):
        listed = client.ask("GET", f"/v2/{name}/referrers/{digest(image)}{query}").json["manifests"]
        assert [entry["digest"] for entry in listed] == [own]
        assert listed[0]["annotations"] == artifact["annotations"]
    fetched = client.ask("GET", f"/v2/{name}/manifests/{own}").json
    assert client.ask("GET", f"/v2/{name}/blobs/{fetched['layers'][0]['digest']}").body == content
