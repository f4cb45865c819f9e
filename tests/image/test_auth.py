"""Credentials: the files, the keys, the helpers."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import Any

import pytest

from orlop.image.auth import Credentials, find
from orlop.image.reference import Reference
from orlop.kit.errors import InvalidInput, NotFound, OrlopError, ProcessFailed


def entry(user: str, password: str = "secret") -> dict[str, str]:
    return {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "bin").mkdir()
    return {
        "HOME": str(tmp_path),
        "XDG_RUNTIME_DIR": str(tmp_path / "run"),
        "PATH": f"{tmp_path}/bin:{os.environ['PATH']}",
    }


def write(path: Path, document: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return path


def user_for(name: str, environment: dict[str, str], **options: Any) -> str | None:
    found = find(Reference.parse(name), environment=environment, **options)
    return found.user if found else None


def test_the_most_specific_key_wins(tmp_path: Path, environment: dict[str, str]) -> None:
    keys = ("a.b/team/app", "a.b/team", "a.b", "c.d:5000", "docker.io/library")
    write(
        tmp_path / "run/containers/auth.json", {"auths": {key: entry(key.replace(":", " ")) for key in keys}}
    )
    assert user_for("a.b/team/app:1", environment) == "a.b/team/app"
    assert user_for("a.b/team/other", environment) == "a.b/team"
    assert user_for("a.b/teams/app", environment) == "a.b"
    assert user_for("c.d:5000/x", environment) == "c.d 5000"
    assert user_for("busybox", environment) == "docker.io/library"
    assert user_for("team/x", environment) is None
    assert user_for("c.d/x", environment) is None


@pytest.mark.parametrize(
    "key", ["https://index.docker.io/v1/", "docker.io", "index.docker.io", "registry-1.docker.io"]
)
def test_docker_hub_has_many_names(key: str, tmp_path: Path, environment: dict[str, str]) -> None:
    write(tmp_path / ".docker/config.json", {"auths": {key: entry("hub")}})
    assert user_for("busybox", environment) == "hub"


def test_keys_may_be_urls(tmp_path: Path, environment: dict[str, str]) -> None:
    write(tmp_path / ".docker/config.json", {"auths": {"https://a.b/v2/": entry("url")}})
    assert user_for("a.b/x", environment) == "url"


def test_places_are_searched_in_order(tmp_path: Path, environment: dict[str, str]) -> None:
    environment["DOCKER_CONFIG"] = ""
    for number, place in enumerate(
        (".dockercfg", ".docker/config.json", ".config/containers/auth.json", "run/containers/auth.json")
    ):
        document: Any = {"a.b": entry(str(number))}
        write(tmp_path / place, document if place == ".dockercfg" else {"auths": document})
        assert user_for("a.b/x", environment) == str(number)
    environment["REGISTRY_AUTH_FILE"] = str(
        write(tmp_path / "named.json", {"auths": {"a.b": entry("named")}})
    )
    assert user_for("a.b/x", environment) == "named"
    given = write(tmp_path / "given.json", {"auths": {"a.b": entry("given")}})
    assert user_for("a.b/x", environment, auth_file=str(given)) == "given"
    with pytest.raises(InvalidInput, match="no such file"):
        user_for("a.b/x", environment, auth_file=str(tmp_path / "absent.json"))


def test_nobody_knows_the_registry(environment: dict[str, str]) -> None:
    assert find(Reference.parse("a.b/x"), environment=environment) is None


def test_an_identity_token_comes_before_a_password(tmp_path: Path, environment: dict[str, str]) -> None:
    write(tmp_path / ".docker/config.json", {"auths": {"a.b": {**entry("user"), "identitytoken": "refresh"}}})
    assert find(Reference.parse("a.b/x"), environment=environment) == Credentials("", "", "refresh")


def test_credentials_show_no_secret() -> None:
    assert "hush" not in repr(Credentials("user", "hush", "hush"))


@pytest.mark.parametrize(
    "document",
    [
        "{",
        "[]",
        {"auths": []},
        {"auths": {"a.b": {"auth": "%%%"}}},
        {"auths": {"a.b": {"auth": "YWJj"}}},
        {"auths": {"a.b": {"auth": 5}}},
    ],
)
def test_a_malformed_file_is_named(document: Any, tmp_path: Path, environment: dict[str, str]) -> None:
    write(tmp_path / ".docker/config.json", document)
    with pytest.raises(InvalidInput, match=r"config\.json"):
        find(Reference.parse("a.b/x"), environment=environment)


def helper(tmp_path: Path, name: str, script: str) -> None:
    path = write(tmp_path / f"bin/docker-credential-{name}", f"#!/bin/sh\nread server\n{script}\n")
    path.chmod(0o755)


def test_a_helper_is_asked_for_its_registry(tmp_path: Path, environment: dict[str, str]) -> None:
    helper(tmp_path, "ship", """[ "$1" = get ] && echo '{"Username": "'$server'", "Secret": "s"}'""")
    write(tmp_path / ".docker/config.json", {"credHelpers": {"a.b": "ship"}, "auths": {"c.d": entry("file")}})
    assert user_for("a.b/x", environment) == "a.b"
    assert user_for("c.d/x", environment) == "file"


def test_a_store_is_asked_for_every_registry(tmp_path: Path, environment: dict[str, str]) -> None:
    helper(tmp_path, "ship", """echo '{"Username": "'$server'", "Secret": "s"}'""")
    write(tmp_path / ".docker/config.json", {"credsStore": "ship"})
    assert user_for("busybox", environment) == "https://index.docker.io/v1/"
    assert user_for("a.b/x", environment) == "a.b"


def test_registries_conf_may_name_helpers(tmp_path: Path, environment: dict[str, str]) -> None:
    helper(tmp_path, "ship", """echo '{"Username": "<token>", "Secret": "refresh"}'""")
    write(tmp_path / ".docker/config.json", {"auths": {"a.b": entry("file")}})
    found = find(Reference.parse("a.b/x"), environment=environment, helpers=("ship", "containers-auth.json"))
    assert found == Credentials("", "", "refresh")
    assert user_for("a.b/x", environment, helpers=("containers-auth.json", "ship")) == "file"


def test_a_helper_that_knows_nothing_leads_to_the_files(tmp_path: Path, environment: dict[str, str]) -> None:
    helper(tmp_path, "ship", "echo 'credentials not found in native keychain'; exit 1")
    write(tmp_path / ".docker/config.json", {"credsStore": "ship", "auths": {"a.b": entry("file")}})
    assert user_for("a.b/x", environment) == "file"


@pytest.mark.parametrize(
    ("script", "kind"),
    [
        ("echo broken >&2; exit 3", ProcessFailed),
        ("echo nonsense", OrlopError),
        ("""echo '{"Username": 5}'""", OrlopError),
    ],
)
def test_a_helper_that_fails_is_named(
    script: str, kind: type[Exception], tmp_path: Path, environment: dict[str, str]
) -> None:
    helper(tmp_path, "ship", script)
    write(tmp_path / ".docker/config.json", {"credsStore": "ship"})
    with pytest.raises(kind, match="docker-credential-ship"):
        find(Reference.parse("a.b/x"), environment=environment)


def test_a_helper_that_is_absent_or_badly_named_is_an_error(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    write(tmp_path / ".docker/config.json", {"credsStore": "absent"})
    with pytest.raises(NotFound, match="docker-credential-absent"):
        find(Reference.parse("a.b/x"), environment=environment)
    write(tmp_path / ".docker/config.json", {"credsStore": "../../bin/sh"})
    with pytest.raises(InvalidInput):
        find(Reference.parse("a.b/x"), environment=environment)
