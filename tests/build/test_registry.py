"""Builds and registries: base images, the cache in a registry, policy; through the command line."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from orlop.build.bootstrap import suite_of
from orlop.kit import process
from orlop.kit.node import Node
from tests.build.builds import command
from tests.support import images
from tests.support.node import temporary_node
from tests.support.registry import Registry, registry

pytestmark = pytest.mark.host


@pytest.fixture
def server() -> Iterator[Registry]:
    with registry() as running:
        images.busybox(running, "library/busybox:latest")
        yield running


@pytest.fixture
def environment(server: Registry, tmp_path: Path) -> dict[str, str]:
    conf = tmp_path / "registries.conf"
    conf.write_text(
        "".join(
            f'[[registry]]\nprefix = "{prefix}"\nlocation = "{server.address}"\ninsecure = true\n'
            for prefix in ("docker.io", server.address)
        )
    )
    return {**os.environ, "CONTAINERS_REGISTRIES_CONF": str(conf)}


def _run(node: Node, environment: dict[str, str], *arguments: str) -> tuple[int, str, str]:
    child = command(node, *arguments, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    out, err = child.communicate(timeout=120)
    return child.returncode, out.decode(), err.decode()


def test_a_cache_goes_to_a_registry_and_comes_back(
    server: Registry, environment: dict[str, str], tmp_path: Path
) -> None:
    context = tmp_path / "context"
    context.mkdir()
    (context / "f").write_text("x")
    (context / "Containerfile").write_text(
        "FROM busybox\nRUN echo 1 > /1\nCOPY f /f\nRUN true\nRUN cat /f /1 > /2\n"
    )
    place = f"docker://{server.address}/team/cache:main"
    options = ("build", "-t", "app", "--cache-from", place)
    with temporary_node(images={}) as node:
        status, first, said = _run(node, environment, *options, "--cache-to", place, str(context))
        assert status == 0, said
        assert "no cache at" in said
    raw = process.run(
        ["skopeo", "inspect", "--raw", "--tls-verify=false", place], timeout=60
    ).stdout  # others see an OCI artifact
    manifest = json.loads(raw)
    assert manifest["artifactType"] == "application/vnd.orlop.build.cache.v1"
    assert all("org.orlop.build.keys" in layer["annotations"] for layer in manifest["layers"])
    with temporary_node(images={}) as node:
        status, second, said = _run(node, environment, *options, str(context))
        assert (status, said.count("(cached)")) == (0, 4), said
        assert _run(node, environment, "run", "--rm", "localhost/app", "cat", "/2")[1] == "x1\n"
        first_layers, second_layers = (
            json.loads(_run(node, environment, "image", "inspect", "--output", "json", name.strip())[1])
            for name in (second, "app")
        )
        assert first_layers[0]["layers"] == second_layers[0]["layers"]
        assert first  # an ID, of another creation time


def test_what_is_built_is_pushed_and_pulled(
    server: Registry, environment: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "Containerfile").write_text('FROM busybox\nRUN echo 1 > /1\nCMD ["cat", "/1"]\n')
    with temporary_node(images={}) as node:
        built = json.loads(
            _run(node, environment, "build", "-q", "--output", "json", "-t", "app", str(tmp_path))[1]
        )
        target = f"docker://{server.address}/team/app:1"
        status, _, said = _run(node, environment, "image", "copy", "store:localhost/app:latest", target)
        assert status == 0, said
        found = process.run(["skopeo", "inspect", "--tls-verify=false", target], timeout=60).stdout
        assert json.loads(found)["Digest"] == built["digest"]
        name = f"{server.address}/team/app:1"
        assert _run(node, environment, "image", "remove", "--force", "localhost/app")[0] == 0
        assert _run(node, environment, "run", "--rm", name)[1] == "1\n"


def test_the_policy_judges_bases_and_not_steps(
    server: Registry, environment: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "Containerfile").write_text("FROM busybox\nRUN echo 1 > /1\nRUN cat /1\n")
    accept = {"docker": {"docker.io/library/busybox": [{"type": "insecureAcceptAnything"}]}}
    policy = tmp_path / "policy.json"
    text = f'[image]\npolicy = "{policy}"\n'
    with temporary_node(images={}, config=text) as node:
        policy.write_text(json.dumps({"default": [{"type": "reject"}], "transports": accept}))
        status, _, said = _run(node, environment, "build", str(tmp_path))
        assert status == 0, said
        policy.write_text(json.dumps({"default": [{"type": "reject"}]}))
        assert _run(node, environment, "build", "--no-cache", str(tmp_path))[0] == 5


def test_which_names_are_debian_s() -> None:
    assert suite_of("debian:bookworm") == "bookworm"
    assert suite_of("docker.io/library/debian:12-slim") == "bookworm"
    assert suite_of("debian:12.5") == "bookworm"
    assert suite_of("debian") == "stable"
    for other in ("quay.io/debian:12", "debian@sha256:" + "0" * 64, "ubuntu:22.04", "debian:Nope!"):
        assert suite_of(other) is None


def test_debian_is_bootstrapped_where_no_registry_has_it(environment: dict[str, str], tmp_path: Path) -> None:
    """By a mirror that does not answer: that it is tried, and said, is what counts here."""
    (tmp_path / "Containerfile").write_text("FROM debian:bookworm\n")
    environment = {**environment, "http_proxy": "http://127.0.0.1:9", "no_proxy": ""}
    with temporary_node(images={}) as node:
        status, _, said = _run(node, environment, "build", "--timestamp", "1", str(tmp_path))
        assert status != 0
        assert "making debian:bookworm from Debian's packages" in said
        status, _, said = _run(node, environment, "build", str(tmp_path))
        assert status == 6
        assert "error: Containerfile:1: Debian's suite bookworm: Failed to fetch" in said
