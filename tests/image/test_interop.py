"""Both ways with skopeo, podman, buildah and umoci: each reads what we write, we read what they write."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from orlop.image.transport.oci import OciSource, delete
from orlop.kit.errors import NotFound
from tests.cli.program import orlop
from tests.image.peers import Peers, ours, peers, read
from tests.support.images import (
    DOCKER,
    Entry,
    Image,
    Index,
    Layer,
    busybox_layer,
    folder,
    symlink,
    tar,
    write_layout,
)
from tests.support.registry import registry

pytestmark = pytest.mark.host

NAME = "example.com/ship:1"
MORE = Layer(
    tar(
        [
            folder("etc"),
            Entry("etc/motd", b"hello\n" * 100),
            symlink("through", "etc"),
            Entry("through/below", b"a file behind a link"),
            Entry("etc/.wh.shadow"),
            Entry("empty"),
            Entry("etc/" + "long" * 40, b"x", pax={"SCHILY.xattr.user.note": "one"}),
        ]
    )
)


def ship(**changes: object) -> Image:
    return Image((busybox_layer(), MORE), {"Cmd": ["sh"], "Env": ["PATH=/bin"]}, **changes)  # type: ignore[arg-type]


@pytest.fixture
def tools() -> Iterator[Peers]:
    with peers() as found:
        yield found


@pytest.fixture
def seed(tmp_path: Path) -> str:
    """An image as the tests' own code writes it."""
    return f"oci:{write_layout(tmp_path / 'seed', {'v1': ship()})}:v1"


def places(at: Path) -> dict[str, str]:
    return {
        "oci": f"oci:{at}/layout:v1",
        "oci-archive": f"oci-archive:{at}/oci.tar:v1",
        "docker-archive": f"docker-archive:{at}/docker.tar:{NAME}",
        "dir": f"dir:{at}/dir",
    }


TRANSPORTS = ("oci", "oci-archive", "docker-archive", "dir")
KEEPING = ("oci", "oci-archive", "dir")  # manifests as they are


class TestSkopeo:
    @pytest.mark.parametrize("kind", TRANSPORTS)
    def test_it_reads_what_we_write(self, tools: Peers, seed: str, tmp_path: Path, kind: str) -> None:
        place = places(tmp_path)[kind]
        done = ours(seed, place)
        if kind in KEEPING:
            assert tools.raw_digest(place) == done.digest == ship().digest
        again = f"dir:{tmp_path}/again"
        tools.skopeo("copy", place, again)
        assert read(again)[1:] == (ship().id, 2)

    @pytest.mark.parametrize("kind", TRANSPORTS)
    def test_we_read_what_it_writes(self, tools: Peers, seed: str, tmp_path: Path, kind: str) -> None:
        place = places(tmp_path)[kind]
        tools.skopeo("copy", seed, place)
        digest, config, layers = read(place)
        assert (config, layers) == (ship().id, 2)
        if kind in KEEPING:
            assert digest == tools.raw_digest(place) == ship().digest

    @pytest.mark.parametrize("kind", KEEPING)
    def test_indexes_go_both_ways(self, tools: Peers, tmp_path: Path, kind: str) -> None:
        index = Index((ship(), ship(architecture="arm64")))
        start = f"oci:{write_layout(tmp_path / 'seed', {'v1': index})}:v1"
        mine, theirs = places(tmp_path / "mine")[kind], places(tmp_path / "theirs")[kind]
        (tmp_path / "mine").mkdir()
        (tmp_path / "theirs").mkdir()
        assert ours(start, mine, all_platforms=True).digest == index.digest
        tools.skopeo("copy", "--all", "--preserve-digests", mine, theirs)
        assert tools.raw_digest(theirs) == index.digest
        assert read(theirs)[0] == index.digest
        end = places(tmp_path)[kind]
        assert ours(theirs, end, all_platforms=True, preserve_digests=True).digest == index.digest

    def test_docker_images_become_oci_in_a_layout_and_stay_in_a_folder(
        self, tools: Peers, tmp_path: Path
    ) -> None:
        image = ship(schema=DOCKER)
        start = write_layout(tmp_path / "seed", {"v1": image})
        assert ours(f"oci:{start}:v1", f"dir:{tmp_path}/dir", preserve_digests=True).digest == image.digest
        assert tools.raw_digest(f"dir:{tmp_path}/dir") == image.digest
        done = ours(f"dir:{tmp_path}/dir", f"oci:{tmp_path}/layout:v1")
        tools.skopeo("copy", f"dir:{tmp_path}/dir", f"oci:{tmp_path}/theirs:v1")
        assert tools.raw_digest(f"oci:{tmp_path}/layout:v1") == done.digest != image.digest
        assert read(f"oci:{tmp_path}/layout:v1")[1] == image.id  # skopeo writes another config here
        assert read(f"oci:{tmp_path}/theirs:v1")[2] == 2

    def test_many_images_of_one_layout(self, tools: Peers, seed: str, tmp_path: Path) -> None:
        layout = tmp_path / "layout"
        other = Image((MORE,), {"Cmd": ["other"]})
        second = f"oci:{write_layout(tmp_path / 'seed2', {'x': other})}:x"
        ours(seed, f"oci:{layout}:a")
        tools.skopeo("copy", second, f"oci:{layout}:b")
        ours(second, f"oci:{layout}:c")
        tools.skopeo("copy", seed, f"oci:{layout}:d")
        for name, image in {"a": ship(), "b": other, "c": other, "d": ship()}.items():
            assert read(f"oci:{layout}:{name}")[0] == tools.raw_digest(f"oci:{layout}:{name}") == image.digest


class TestPodman:
    @pytest.mark.parametrize("kind", ["oci-archive", "docker-archive", "oci"])
    def test_it_loads_what_we_write(self, tools: Peers, seed: str, tmp_path: Path, kind: str) -> None:
        place = places(tmp_path)[kind]
        ours(seed, place)
        path = place.split(":")[1]
        if kind == "oci":
            tools.podman("pull", "-q", place)
            name = tools.podman("images", "--format", "{{.Id}}", "--no-trunc").split()[0].strip()
        else:
            tools.podman("load", "-q", "-i", path)
            name = NAME if kind == "docker-archive" else tools.podman("images", "-q", "--no-trunc").strip()
        assert tools.image_id(name.removeprefix("sha256:")) == ship().id
        if kind == "docker-archive":
            assert tools.podman(
                "run", "--rm", "--network=none", "--cgroups=disabled", NAME, "cat", "/etc/motd"
            )

    @pytest.mark.parametrize("form", ["oci-archive", "docker-archive", "oci-dir", "docker-dir"])
    def test_we_read_what_it_saves(self, tools: Peers, seed: str, tmp_path: Path, form: str) -> None:
        tools.skopeo("copy", seed, f"containers-storage:[{tools.place}]{NAME}")
        out = tmp_path / "saved"
        tools.podman("save", "-q", "--format", form, "-o", str(out), NAME)
        transport = {"oci-dir": "oci", "docker-dir": "dir"}.get(form, form)
        assert read(f"{transport}:{out}")[1:] == (ship().id, 2)

    def test_several_images_of_one_archive(self, tools: Peers, seed: str, tmp_path: Path) -> None:
        other = Image((busybox_layer(),), {"Cmd": ["other"]})
        second = f"oci:{write_layout(tmp_path / 'seed2', {'x': other})}:x"
        tools.skopeo("copy", seed, f"containers-storage:[{tools.place}]{NAME}")
        tools.skopeo("copy", second, f"containers-storage:[{tools.place}]example.com/other:2")
        out = tmp_path / "saved.tar"
        tools.podman("save", "-q", "--multi-image-archive", "-o", str(out), NAME, "example.com/other:2")
        assert read(f"docker-archive:{out}:{NAME}")[1] == ship().id
        assert read(f"docker-archive:{out}:example.com/other:2")[1] == other.id
        assert {read(f"docker-archive:{out}:@{n}")[1] for n in (0, 1)} == {ship().id, other.id}

    def test_it_pushes_to_us_and_pulls_from_us(self, tools: Peers, seed: str, tmp_path: Path) -> None:
        ours(seed, f"dir:{tmp_path}/dir")
        tools.podman("pull", "-q", f"dir:{tmp_path}/dir")
        found = tools.podman("images", "-q", "--no-trunc").strip().removeprefix("sha256:")
        for kind in TRANSPORTS:
            place = places(tmp_path / "pushed")[kind]
            (tmp_path / "pushed").mkdir(exist_ok=True)
            tools.podman("push", "-q", found, place)
            assert read(place)[1:] == (ship().id, 2)


class TestBuildah:
    def test_both_ways(self, tools: Peers, seed: str, tmp_path: Path) -> None:
        place = places(tmp_path)["oci-archive"]
        ours(seed, place)
        container = tools.buildah("from", place).strip()
        (tmp_path / "file").write_text("from buildah")
        tools.buildah("copy", container, str(tmp_path / "file"), "/file")
        built = f"oci:{tmp_path}/built:v2"
        tools.buildah("commit", "-q", container, built)
        tools.buildah("rm", container)
        digest, _, layers = read(built)
        assert layers == 3
        assert digest == tools.raw_digest(built)
        back = places(tmp_path)["docker-archive"]
        ours(built, back)
        assert (
            tools.buildah("pull", "-q", f"docker-archive:{tmp_path}/docker.tar").strip() == read(back)[1][7:]
        )


class TestUmoci:
    def test_it_unpacks_what_we_write(self, tools: Peers, seed: str, tmp_path: Path) -> None:
        layout = f"{tmp_path}/layout"
        ours(seed, f"oci:{layout}:v1")
        assert tools.run("umoci", "ls", "--layout", layout).split() == ["v1"]
        tools.run("umoci", "unpack", "--image", f"{layout}:v1", f"{tmp_path}/bundle")
        assert (tmp_path / "bundle/rootfs/etc/motd").read_bytes() == b"hello\n" * 100

    def test_we_write_into_layouts_that_it_began(self, tools: Peers, seed: str, tmp_path: Path) -> None:
        layout = f"{tmp_path}/layout"
        tools.run("umoci", "init", "--layout", layout)  # its index.json says null
        with pytest.raises(NotFound):
            OciSource(layout).manifest()
        ours(seed, f"oci:{layout}:v1")
        tools.run("umoci", "new", "--image", f"{layout}:empty")
        assert tools.run("umoci", "ls", "--layout", layout).split() == ["v1", "empty"]
        assert read(f"oci:{layout}:v1")[0] == ship().digest
        assert read(f"oci:{layout}:empty")[2] == 0
        delete(layout, "empty")
        assert tools.run("umoci", "ls", "--layout", layout).split() == ["v1"]
        tools.run("umoci", "gc", "--layout", layout)
        assert read(f"oci:{layout}:v1")[0] == ship().digest

    def test_we_read_what_it_repacks_and_inserts(self, tools: Peers, seed: str, tmp_path: Path) -> None:
        layout = f"{tmp_path}/layout"
        ours(seed, f"oci:{layout}:v1")
        tools.run("umoci", "unpack", "--image", f"{layout}:v1", f"{tmp_path}/bundle")
        (tmp_path / "bundle/rootfs/new").write_text("new")
        tools.run("umoci", "repack", "--image", f"{layout}:v2", f"{tmp_path}/bundle")
        (tmp_path / "more").write_text("more")
        tools.run("umoci", "insert", "--image", f"{layout}:v2", str(tmp_path / "more"), "/more")
        assert OciSource(layout, "v2").tags() == ("v1", "v2")
        assert read(f"oci:{layout}:v2")[2] == 4
        assert read(f"oci:{layout}:v1")[0] == ship().digest
        ours(f"oci:{layout}:v2", f"docker-archive:{tmp_path}/x.tar:{NAME}")
        tools.podman("load", "-q", "-i", f"{tmp_path}/x.tar")
        assert tools.image_id(NAME) == read(f"oci:{layout}:v2")[1]


def test_our_docker_archive_is_both_kinds_of_docker_save(seed: str, tmp_path: Path) -> None:
    """manifest.json for every Docker, an OCI layout for those with containerd's store."""
    done = ours(seed, f"docker-archive:{tmp_path}/x.tar:{NAME}")
    with tarfile.open(tmp_path / "x.tar") as archive:
        names = set(archive.getnames())
        listed = json.load(archive.extractfile("manifest.json"))  # type: ignore[arg-type]
        index = json.load(archive.extractfile("index.json"))  # type: ignore[arg-type]
        repositories = json.load(archive.extractfile("repositories"))  # type: ignore[arg-type]
    assert listed[0]["RepoTags"] == [NAME]
    assert {listed[0]["Config"], *listed[0]["Layers"]} <= names
    assert index["manifests"][0]["digest"] == done.digest
    assert list(repositories) == ["example.com/ship"]
    assert read(f"oci-archive:{tmp_path}/x.tar:{NAME}")[0] == read(f"docker-archive:{tmp_path}/x.tar")[0]


ENDS = {
    "docker": "docker://{server}/end/from-{source}:1",
    "oci": "oci:{tmp}/layout:{source}",
    "oci-archive": "oci-archive:{tmp}/{source}.oci.tar:1",
    "docker-archive": "docker-archive:{tmp}/{source}.tar:example.com/end:1",
    "dir": "dir:{tmp}/{source}.dir",
    "store": "store:example.com/{source}:1",
}


@pytest.mark.timeout(300)
def test_any_transport_to_any_other(
    tools: Peers, seed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the command line, the store among them; the image's ID and its layers are what they were."""
    monkeypatch.setenv("ORLOP_ROOT", str(tmp_path / "r"))
    monkeypatch.setenv("ORLOP_STATE", str(tmp_path / "s"))
    with registry() as server:

        def place(end: str, source: str) -> str:
            return ENDS[end].format(tmp=tmp_path, server=server.address, source=source)

        starts = {end: place(end, "seed") for end in ENDS}
        for start in starts.values():
            orlop("image", "copy", "--tls-verify=false", seed, start)
        stored = f"containers-storage:[{tools.place}]{NAME}"
        tools.skopeo("copy", seed, stored)
        for source, start in {**starts, "containers-storage": stored}.items():
            for end in ENDS:
                target = place(end, source)
                orlop("image", "copy", "--tls-verify=false", start, target)
                if end == "store":
                    orlop("image", "copy", target, target := f"oci:{tmp_path}/out:{source}")
                assert read(target)[1:] == (ship().id, 2), f"{start} {target}"
