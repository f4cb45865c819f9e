"""`orlop image sync`: registry to folder and back, layouts, lists, and what skopeo sync wrote."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.program import orlop
from tests.image.peers import Peers, peers, read
from tests.support.images import DOCKER, Image, Index, Layer, push, tar
from tests.support.registry import Registry, registry

pytestmark = pytest.mark.host


def image_of(content: str, **changes: Any) -> Image:
    base = Layer(tar({"base": b"b" * 5000}))
    return Image((base, Layer(tar({"file": content.encode() * 100}))), {"Cmd": [content]}, **changes)


MULTI = Index((image_of("multi"), image_of("multi", architecture="arm64")))
STOCK: dict[str, Image | Index] = {
    "team/app:1.0": image_of("1.0"),
    "team/app:1.10": image_of("1.10"),
    "team/app:2.0": image_of("2.0"),
    "team/multi:v1": MULTI,
    "other/docker:old": image_of("old", schema=DOCKER),
}


@pytest.fixture(scope="module")
def origin() -> Iterator[Registry]:
    with registry() as running:
        for name, image in STOCK.items():
            push(running, name, image)
        yield running


@pytest.fixture
def target() -> Iterator[Registry]:
    with registry() as running:
        yield running


@pytest.fixture
def tools() -> Iterator[Peers]:
    with peers() as found:
        yield found


@pytest.fixture(autouse=True)
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, name in (("ORLOP_ROOT", "r"), ("ORLOP_STATE", "s")):
        monkeypatch.setenv(variable, str(tmp_path / "node" / name))


def sync(*arguments: str, code: int = 0) -> list[dict[str, Any]]:
    """What was done: the JSON answer."""
    done = orlop("image", "sync", "--tls-verify=false", "--output", "json", *arguments, code=code)
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def actions(done: list[dict[str, Any]]) -> dict[str, str]:
    return {Path(one["destination"]).name: one["action"] for one in done}


def test_a_repository_goes_to_folders_and_back(origin: Registry, target: Registry, tmp_path: Path) -> None:
    tags = ("1.0", "1.10", "2.0")
    done = sync(f"docker://{origin.address}/team/app", f"dir:{tmp_path}/d")
    assert actions(done) == {f"app:{tag}": "copied" for tag in tags}
    for tag in tags:
        assert read(f"dir:{tmp_path}/d/app:{tag}")[0] == STOCK[f"team/app:{tag}"].digest
    done = sync(f"dir:{tmp_path}/d", f"docker://{target.address}/mirror")
    assert [one["digest"] for one in done] == [STOCK[f"team/app:{tag}"].digest for tag in tags]
    for tag in tags:
        there = read(f"docker://{target.address}/mirror/app:{tag}")
        assert there[0] == STOCK[f"team/app:{tag}"].digest


def test_one_tag_and_one_digest(origin: Registry, target: Registry, tmp_path: Path) -> None:
    done = sync(f"docker://{origin.address}/team/app:1.10", f"dir:{tmp_path}/d")
    assert actions(done) == {"app:1.10": "copied"}
    name = f"team/multi@{MULTI.digest}"
    done = sync(f"docker://{origin.address}/{name}", f"docker://{target.address}")
    assert done[0]["digest"] == MULTI.digest  # whole: what a digest names has this digest
    assert read(f"docker://{target.address}/multi@{MULTI.digest}")[0] == MULTI.digest
    for place in (f"dir:{tmp_path}/by-digest", f"oci:{tmp_path}/layout"):  # ... and back, whole again
        sync(f"docker://{origin.address}/{name}", place)
        (back,) = sync("--scoped", place, f"docker://{target.address}/back/{place[:3]}")
        assert back["digest"] == MULTI.digest
        assert read(f"docker://{target.address}/back/{place[:3]}/multi@{MULTI.digest}")[0] == MULTI.digest


@pytest.mark.parametrize("kind", ["dir:{tmp}/d", "oci:{tmp}/d", "docker://{target}/m"])
def test_what_is_there_is_not_copied_again(
    origin: Registry, target: Registry, tmp_path: Path, kind: str
) -> None:
    place = kind.format(tmp=tmp_path, target=target.address)
    source = f"docker://{origin.address}/team/app"
    assert set(actions(sync(source, place)).values()) == {"copied"}
    blobs = origin.requests("GET /v2/team/app/blobs/")
    again = sync(source, place)
    assert set(actions(again).values()) == {"there"}
    assert {one["digest"] for one in again} == {
        STOCK[f"team/app:{tag}"].digest for tag in ("1.0", "1.10", "2.0")
    }
    assert origin.requests("GET /v2/team/app/blobs/") == blobs


def test_only_what_changed_is_copied(origin: Registry, tmp_path: Path) -> None:
    with registry() as changing:
        push(changing, "app:1", image_of("one"))
        push(changing, "app:2", image_of("two"))
        sync(f"docker://{changing.address}/app", f"dir:{tmp_path}/d")
        push(changing, "app:2", image_of("three"))
        done = sync(f"docker://{changing.address}/app", f"dir:{tmp_path}/d")
        assert actions(done) == {"app:1": "there", "app:2": "copied"}
        assert done[1]["sent"] == 2  # config and upper layer: the lower one was there
        assert read(f"dir:{tmp_path}/d/app:2")[0] == image_of("three").digest


@pytest.mark.parametrize("whole", [True, False])
def test_all_platforms_or_this_machines(origin: Registry, target: Registry, whole: bool) -> None:
    wanted = MULTI.digest if whole else MULTI.members[0].digest
    arguments = [f"docker://{origin.address}/team/multi", f"docker://{target.address}/m"]
    option = ["--all"] if whole else ["--platform", "linux/amd64"]
    for action in ("copied", "there"):
        done = sync(*option, *arguments)
        assert [(one["action"], one["digest"]) for one in done] == [(action, wanted)]


def test_scoped_names_stay_apart(origin: Registry, target: Registry, tmp_path: Path) -> None:
    listed = tmp_path / "list.yaml"
    listed.write_text(f'"{origin.address}":\n  images:\n    team/app: ["1.0"]\n    other/docker: [old]\n')
    sync("--scoped", f"yaml:{listed}", f"dir:{tmp_path}/d")
    for name in ("team/app:1.0", "other/docker:old"):
        assert read(f"dir:{tmp_path}/d/{origin.address}/{name}")[0] == STOCK[name].digest
    done = sync("--scoped", f"dir:{tmp_path}/d", f"docker://{target.address}/all")
    scope = origin.address.replace(":", "_")
    assert {one["destination"] for one in done} == {
        f"docker://{target.address}/all/{scope}/team/app:1.0",
        f"docker://{target.address}/all/{scope}/other/docker:old",
    }
    assert read(done[0]["destination"])[0] == STOCK["other/docker:old"].digest


def test_two_images_of_one_name_are_refused_before_anything_is_copied(tmp_path: Path) -> None:
    with registry() as crowded:
        for name in ("a/app:1", "b/app:1"):
            push(crowded, name, image_of(name))
        listed = tmp_path / "list.yaml"
        listed.write_text(f'"{crowded.address}":\n  images:\n    a/app: []\n    b/app: []\n')
        done = orlop("image", "sync", "--tls-verify=false", f"yaml:{listed}", f"dir:{tmp_path}/d", code=4)
        assert "--scoped" in done.stderr
        assert not (tmp_path / "d").exists()
        assert len(sync("--scoped", f"yaml:{listed}", f"dir:{tmp_path}/d")) == 2


def test_layouts_hold_many_images(origin: Registry, target: Registry, tmp_path: Path) -> None:
    sync("--all", f"docker://{origin.address}/team/app", f"oci:{tmp_path}/l")
    sync("--all", f"docker://{origin.address}/team/multi", f"oci:{tmp_path}/l")
    done = sync("--all", f"oci:{tmp_path}/l", f"docker://{target.address}/back")
    assert {one["digest"] for one in done} == {
        image.digest for name, image in STOCK.items() if name.startswith("team/")
    }
    assert read(f"oci:{tmp_path}/l:app:1.10")[0] == STOCK["team/app:1.10"].digest
    assert len(list((tmp_path / "l/blobs/sha256").iterdir())) == 16  # the base layer is there once


def test_a_list_chooses_by_name_digest_pattern_and_version(origin: Registry, tmp_path: Path) -> None:
    listed = tmp_path / "list.yaml"
    digest = STOCK["team/app:2.0"].digest
    listed.write_text(
        f'"{origin.address}":\n'
        "  images:\n"
        f"    team/app: [1.10, '{digest}']\n"  # 1.10 is a text here, not the number 1.1
        "    team/multi: []\n"
        "  images-by-tag-regex:\n"
        "    other/docker: ^o\n"
        "  images-by-semver:\n"
        '    team/app: ">= 1.0, < 1.5"\n'
    )
    done = sync("--dry-run", f"yaml:{listed}", f"dir:{tmp_path}/d")
    assert {one["action"] for one in done} == {"planned"}
    assert [Path(one["destination"]).name for one in done] == [
        "app:1.10",
        f"app@{digest}",
        "multi:v1",
        "docker:old",
        "app:1.0",
    ]
    assert not (tmp_path / "d").exists()
    sync(f"yaml:{listed}", f"dir:{tmp_path}/d")
    assert read(f"dir:{tmp_path}/d/app@{digest}")[0] == digest


def test_a_list_says_how_to_speak_with_each_registry(tmp_path: Path) -> None:
    with registry(tls=True, users={"ada": "secret"}) as guarded:
        assert guarded.authority is not None
        push(guarded, "app:1", image_of("guarded"))
        certificates = tmp_path / "certs"
        certificates.mkdir()
        shutil.copy(guarded.authority.file, certificates / "ca.crt")
        listed = tmp_path / "list.yaml"
        text = (
            f'"{guarded.address}":\n  images: {{app: []}}\n'
            "  credentials: {username: ada, password: PASSWORD}\n  tls-verify: true\n"
        )
        listed.write_text(text.replace("PASSWORD", "secret") + f"  cert-dir: {certificates}\n")
        done = orlop("image", "sync", f"yaml:{listed}", f"dir:{tmp_path}/d")
        assert done.stdout.startswith("copied ")
        listed.write_text(text.replace("PASSWORD", "secret"))
        orlop("image", "sync", f"yaml:{listed}", f"dir:{tmp_path}/e", code=6)  # nobody vouches for it
        listed.write_text(text.replace("PASSWORD", "wrong") + f"  cert-dir: {certificates}\n")
        orlop("image", "sync", f"yaml:{listed}", f"dir:{tmp_path}/e", code=5)
        orlop(
            "image",
            "sync",
            f"--src-cert-dir={certificates}",
            "--src-creds=ada:secret",
            f"docker://{guarded.address}/app",
            f"dir:{tmp_path}/f",
        )


def test_it_goes_on_after_a_failure_where_it_is_told_to(origin: Registry, tmp_path: Path) -> None:
    listed = tmp_path / "list.yaml"
    listed.write_text(f'"{origin.address}":\n  images:\n    team/app: [absent, "1.0"]\n')
    orlop("image", "sync", "--tls-verify=false", f"yaml:{listed}", f"dir:{tmp_path}/d", code=3)
    assert not (tmp_path / "d/app:1.0").exists()
    done = orlop(
        "image", "sync", "--tls-verify=false", "--keep-going", f"yaml:{listed}", f"dir:{tmp_path}/d", code=3
    )
    assert "absent" in done.stderr
    assert (tmp_path / "d/app:1.0").exists()
    assert actions(sync("--keep-going", f"yaml:{listed}", f"dir:{tmp_path}/d", code=3)) == {
        "app:absent": "failed",
        "app:1.0": "there",
    }


def test_tags_get_a_suffix(origin: Registry, target: Registry, tmp_path: Path) -> None:
    source = f"docker://{origin.address}/team/app:1.0"
    assert sync("--append-suffix=-old", source, f"dir:{tmp_path}/d")[0]["destination"].endswith("app:1.0-old")
    sync("--append-suffix", ".bak", source, f"docker://{target.address}")
    assert read(f"docker://{target.address}/app:1.0.bak")[0] == STOCK["team/app:1.0"].digest


def test_layers_are_converted_on_request(origin: Registry, tmp_path: Path) -> None:
    done = sync("--compress=zstd", f"docker://{origin.address}/team/app:1.0", f"oci:{tmp_path}/l")
    assert done[0]["digest"] != STOCK["team/app:1.0"].digest
    assert read(f"oci:{tmp_path}/l")[1] == image_of("1.0").id


class TestSkopeo:
    def test_we_read_its_folders(
        self, tools: Peers, origin: Registry, target: Registry, tmp_path: Path
    ) -> None:
        tools.skopeo(
            *("sync", "--all", "--scoped", "--src-tls-verify=false", "--src", "docker", "--dest", "dir"),
            *(f"{origin.address}/team/app", str(tmp_path)),
        )
        done = sync("--src", "dir", "--dest", "docker", str(tmp_path), f"{target.address}/m")
        assert [one["digest"] for one in done] == [
            STOCK[f"team/app:{tag}"].digest for tag in ("1.0", "1.10", "2.0")
        ]

    def test_it_reads_ours(self, tools: Peers, origin: Registry, target: Registry, tmp_path: Path) -> None:
        sync("--src", "docker", "--dest", "dir", f"{origin.address}/team/app", str(tmp_path / "d"))
        tools.skopeo(
            *("sync", "--dest-tls-verify=false", "--src", "dir", "--dest", "docker"),
            *(str(tmp_path / "d"), f"{target.address}/m"),
        )
        for tag in ("1.0", "1.10", "2.0"):
            digest = tools.raw_digest(f"docker://{target.address}/m/app:{tag}")
            assert digest == STOCK[f"team/app:{tag}"].digest

    def test_both_take_the_same_list_for_the_same(
        self, tools: Peers, origin: Registry, tmp_path: Path
    ) -> None:
        listed = tmp_path / "list.yaml"
        listed.write_text(
            f'{origin.address}:\n  tls-verify: false\n  images:\n    team/app: ["1.0"]\n    team/multi: []\n'
            "  images-by-tag-regex: {other/docker: ^old$}\n"
        )
        for name in ("ours", "theirs"):
            (tmp_path / name).mkdir()
        sync(f"yaml:{listed}", f"dir:{tmp_path}/ours")
        tools.skopeo("sync", "--src", "yaml", "--dest", "dir", str(listed), str(tmp_path / "theirs"))
        theirs = sorted(str(p.relative_to(tmp_path / "theirs")) for p in (tmp_path / "theirs").rglob("*"))
        assert theirs == sorted(str(p.relative_to(tmp_path / "ours")) for p in (tmp_path / "ours").rglob("*"))


@pytest.mark.parametrize(
    ("source", "destination", "code"),
    [
        ("dir:{tmp}/absent", "dir:{tmp}/d", 3),
        ("oci:{tmp}/absent", "dir:{tmp}/d", 3),
        ("yaml:{tmp}/absent", "dir:{tmp}/d", 3),
        ("dir:{tmp}", "dir:{tmp}/d", 3),
        ("docker-archive:{tmp}/x", "dir:{tmp}/d", 2),
        ("busybox", "dir:{tmp}/d", 2),
    ],
)
def test_what_cannot_be_synced_is_said(tmp_path: Path, source: str, destination: str, code: int) -> None:
    names = [text.format(tmp=tmp_path) for text in (source, destination)]
    done = orlop("image", "sync", *names, code=code)
    assert "hint: " in done.stderr


@pytest.mark.parametrize(
    "destination", ["store:x", "oci-archive:{tmp}/x", "oci:{tmp}/l:named", "docker://UPPER/x y"]
)
def test_places_that_hold_no_many_images(origin: Registry, tmp_path: Path, destination: str) -> None:
    source = f"docker://{origin.address}/team/app:1.0"
    orlop("image", "sync", "--tls-verify=false", source, destination.format(tmp=tmp_path), code=2)
