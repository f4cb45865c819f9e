"""Logging in and out: what is written, by whom it is read, and what stays as it was."""

from __future__ import annotations

import base64
import json
import os
import stat
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from orlop.image import auth
from orlop.image.auth import Credentials
from orlop.image.login import forget, forget_all, keep, key_of, login, place
from orlop.image.reference import Reference
from orlop.kit.errors import Denied, InvalidInput, NotFound, Unavailable
from tests.image.copying import opening
from tests.support.registry import registry

ADA = Credentials("ada", "se:cret")


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "bin").mkdir()
    return {
        "HOME": str(tmp_path),
        "XDG_RUNTIME_DIR": str(tmp_path / "run"),
        "PATH": f"{tmp_path}/bin:/usr/bin:/bin",
        "KEPT": str(tmp_path / "kept"),
    }


@pytest.fixture
def helper(environment: dict[str, str]) -> Path:
    """A credential helper that keeps everything in one file."""
    program = Path(environment["HOME"], "bin", "docker-credential-tests")
    program.write_text(
        "#!/bin/sh\ncase $1 in\n"
        'store) cat > "$KEPT" ;;\n'
        'get) read server; grep -q "\\"$server\\"" "$KEPT" && cat "$KEPT" '
        "|| { echo credentials not found in native keychain; exit 1; } ;;\n"
        'erase) rm -f "$KEPT" ;;\nesac\n'
    )
    program.chmod(0o755)
    return Path(environment["KEPT"])


def found(name: str, environment: dict[str, str]) -> Credentials | None:
    return auth.find(Reference.parse(f"{name}/x:1"), environment=environment)


def test_what_is_kept_is_found_again_and_is_nobody_elses_to_read(environment: dict[str, str]) -> None:
    path = keep("example.org", ADA, environment=environment)
    assert path == f"{environment['XDG_RUNTIME_DIR']}/containers/auth.json"
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert found("example.org/team", environment) == ADA
    keep("example.org/team", Credentials("bob", "x"), environment=environment)
    assert found("example.org/team", environment) == Credentials("bob", "x")
    assert found("example.org/other", environment) == ADA
    forget("example.org/team", environment=environment)
    assert found("example.org/team", environment) == ADA
    with pytest.raises(NotFound):
        forget("example.org/team", environment=environment)


def test_other_entries_and_keys_stay(environment: dict[str, str], tmp_path: Path) -> None:
    path = tmp_path / "auth.json"
    path.write_text(json.dumps({"auths": {"a.example": {"auth": "eDp5"}}, "detachKeys": "ctrl-q"}))
    path.chmod(0o644)
    link = tmp_path / "link.json"
    link.symlink_to(path)
    keep("b.example", ADA, auth_file=str(link), environment=environment)
    document = json.loads(path.read_text())
    assert link.is_symlink()
    assert document["detachKeys"] == "ctrl-q"
    assert document["auths"] == {
        "a.example": {"auth": "eDp5"},
        "b.example": {"auth": base64.b64encode(b"ada:se:cret").decode()},
    }
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    forget_all(auth_file=str(path), environment=environment)
    assert json.loads(path.read_text()) == {"auths": {}, "detachKeys": "ctrl-q"}


def test_a_malformed_file_is_left_alone(environment: dict[str, str], tmp_path: Path) -> None:
    path = tmp_path / "auth.json"
    for text in ("{", "[]", '{"auths": []}'):
        path.write_text(text)
        with pytest.raises(InvalidInput):
            keep("b.example", ADA, auth_file=str(path), environment=environment)
        assert path.read_text() == text


def test_twenty_logins_at_once_lose_none(environment: dict[str, str]) -> None:
    def one(number: int) -> None:
        keep(f"r{number}.example", ADA, environment=environment)

    with ThreadPoolExecutor(20) as pool:
        list(pool.map(one, range(20)))
    document = json.loads(Path(place("", environment)).read_text())
    assert len(document["auths"]) == 20


@pytest.mark.parametrize("how", ["credHelpers", "credsStore", "registries.conf"])
def test_a_credential_helper_keeps_what_is_its_own(
    environment: dict[str, str], helper: Path, how: str
) -> None:
    path = Path(place("", environment))
    path.parent.mkdir(parents=True)
    helpers: tuple[str, ...] = ()
    if how == "credHelpers":
        path.write_text('{"credHelpers": {"example.org": "tests"}}')
    elif how == "credsStore":
        path.write_text('{"credsStore": "tests"}')
    else:
        path.write_text("{}")
        helpers = ("tests",)
    before = path.read_text()
    assert keep("example.org", ADA, helpers=helpers, environment=environment) == "docker-credential-tests"
    assert path.read_text() == before
    assert json.loads(helper.read_text()) == {
        "ServerURL": "example.org",
        "Username": "ada",
        "Secret": "se:cret",
    }
    if not helpers:
        assert found("example.org", environment) == ADA
    forget("example.org", helpers=helpers, environment=environment)
    assert not helper.exists()


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("example.org", "example.org"),
        ("https://example.org:5000/v2/", "example.org:5000"),
        ("example.org/team/app", "example.org/team/app"),
        ("index.docker.io", "docker.io"),
        ("https://index.docker.io/v1/", "docker.io"),
        ("localhost:5000", "localhost:5000"),
    ],
)
def test_registries_have_one_key(text: str, key: str) -> None:
    assert key_of(text) == key


@pytest.mark.parametrize("text", ["", "exa mple", "example.org/App", "example.org/app:1", "/x", "a@b"])
def test_what_is_no_registry_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        key_of(text)


@pytest.mark.host
@pytest.mark.parametrize("token", [False, True])
def test_the_registry_is_asked_first_and_skopeo_reads_what_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, token: bool
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    path = tmp_path / "auth.json"
    with registry(users={"ada": "se:cret"}, token=token) as running:
        options = opening(auth_file=str(path))
        with pytest.raises(Denied):
            login(running.address, Credentials("ada", "wrong"), options)
        assert not path.exists()
        login(running.address, ADA, options)
        done = subprocess.run(
            ["skopeo", "login", "--get-login", "--authfile", path, running.address],
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.strip() == "ada"
        address = running.address
    path.unlink()
    with pytest.raises(Unavailable):
        login(address, ADA, options)
    assert not path.exists()
