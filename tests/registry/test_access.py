"""Who may do what: users, passwords, anonymous clients, rules."""

from __future__ import annotations

import base64
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from orlop.kit.errors import InvalidInput, NotFound
from orlop.registry import passwords
from orlop.registry.access import _NOBODY, read_rules
from tests.registry.support import Client, Running, digest, orlop, serving, temporary_root

pytestmark = pytest.mark.host


def _basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@pytest.fixture(scope="module")
def users(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("users") / "users"
    for user, password in (("ada", "s3cret: ä"), ("bob", "other")):
        passwords.write(str(path), user, password)
    return path


def _as(running: Running, user: str, password: str) -> Client:
    return running.client(Authorization=_basic(user, password))


class TestUsers:
    """`--users`, and nothing for anybody else."""

    @pytest.fixture(scope="class")
    def running(self, users: Path) -> Iterator[Running]:
        with serving("--users", str(users)) as found:
            yield found

    def test_end_1_asks_for_a_name(self, running: Running) -> None:
        answer = running.client().ask("GET", "/v2/")
        assert (answer.status, answer.codes) == (401, ["UNAUTHORIZED"])
        assert answer.headers["www-authenticate"].startswith("Basic ")

    def test_right_password(self, running: Running) -> None:
        client = _as(running, "ada", "s3cret: ä")
        assert client.ask("GET", "/v2/").status == 200
        data = client.push_image("a/b", "latest")
        assert client.ask("GET", "/v2/a/b/manifests/latest").body == data

    @pytest.mark.parametrize(
        "authorization",
        [
            *(_basic("ada", "wrong"), _basic("nobody", "other"), _basic("bob", ""), _basic("", "other")),
            *("Basic", "Basic !!!", "Basic " + base64.b64encode(b"\xff\xfe").decode(), "Bearer abc", "ada"),
            *(_basic("ada", "x" * 5000), _basic("bob", "other\0"), _basic("bob", "oth"), "Basic " + "A" * 8),
        ],
    )
    def test_wrong_password_is_401(self, running: Running, authorization: str) -> None:
        client = running.client(Authorization=authorization)
        for method, path in (
            ("GET", "/v2/"),
            ("GET", "/v2/a/b/tags/list"),
            ("POST", "/v2/a/b/blobs/uploads/"),
        ):
            assert client.ask(method, path).status == 401

    def test_nobody_may_nothing(self, running: Running) -> None:
        for client in (running.client(), _as(running, "", "")):
            for method, path in (
                *(("GET", "/v2/a/b/manifests/latest"), ("GET", f"/v2/a/b/blobs/{digest(b'{}')}")),
                *(("POST", "/v2/a/b/blobs/uploads/"), ("DELETE", "/v2/a/b/manifests/latest")),
                ("GET", f"/v2/a/b/referrers/{digest(b'{}')}"),
            ):
                assert client.ask(method, path).codes == ["UNAUTHORIZED"]
            assert client.ask("GET", "/v2/_catalog").json["repositories"] == []

    def test_passwords_do_not_reach_the_log(self, running: Running) -> None:
        _as(running, "ada", "s3cret: ä").ask("GET", "/v2/")
        assert "user=ada" in running.log
        assert "s3cret" not in running.log
        assert "Basic" not in running.log


def test_a_password_that_changes_counts_at_once(tmp_path: Path) -> None:
    path = tmp_path / "users"
    passwords.write(str(path), "ada", "one")
    with serving("--users", str(path)) as running:
        assert _as(running, "ada", "one").ask("GET", "/v2/").status == 200
        passwords.write(str(path), "ada", "two")
        assert _as(running, "ada", "one").ask("GET", "/v2/").status == 401
        assert _as(running, "ada", "two").ask("GET", "/v2/").status == 200
        passwords.write(str(path), "ada", None)
        assert _as(running, "ada", "two").ask("GET", "/v2/").status == 401
        path.write_text("broken\n")  # a mistake lets nobody in
        assert _as(running, "ada", "two").ask("GET", "/v2/").status == 401


def test_anonymous_may_pull_where_that_was_said(users: Path) -> None:
    with serving("--users", str(users), "--anonymous", "pull") as running:
        data = _as(running, "bob", "other").push_image("a", "latest")
        for client in (running.client(), _as(running, "", "")):
            assert client.ask("GET", "/v2/a/manifests/latest").body == data
            assert client.ask("POST", "/v2/a/blobs/uploads/").status == 401
            assert client.ask("DELETE", "/v2/a/manifests/latest").status == 401
            assert client.ask("GET", "/v2/_catalog").json["repositories"] == ["a"]
        assert running.client().ask("GET", "/v2/").status == 401  # so that clients learn to send a name
        assert _as(running, "", "").ask("GET", "/v2/").status == 200  # these have none


def test_anonymous_pull_without_users() -> None:
    with serving("--anonymous", "pull") as running:
        client = running.client()
        assert client.ask("GET", "/v2/").status == 200
        assert client.ask("POST", "/v2/a/blobs/uploads/").codes == ["DENIED"]


def test_read_only_registry_takes_nothing() -> None:
    with temporary_root() as node:
        with serving(node=node) as running:
            data = running.client().push_image("a", "latest")
        with serving("--read-only", node=node) as running:
            client = running.client()
            assert client.ask("GET", "/v2/a/manifests/latest").body == data
            for method, path in (
                *(("POST", "/v2/a/blobs/uploads/"), ("DELETE", "/v2/a/manifests/latest")),
                *(("PUT", "/v2/a/manifests/x"), ("DELETE", f"/v2/a/blobs/{digest(b'{}')}")),
            ):
                answer = client.ask(method, path)
                assert (answer.status, answer.codes) == (405, ["UNSUPPORTED"])
                client = running.client()


def test_rules_by_repository(users: Path, tmp_path: Path) -> None:
    rules = tmp_path / "rules"
    rules.write_text(
        "# who  repositories  rights\n"
        "ada        *         pull,push,delete\n"
        "bob        team/*    pull,push\n"
        "*          shared    pull\n"
        "anonymous  public/*  pull\n"
    )
    with serving("--users", str(users), "--access", str(rules), "--anonymous", "all") as running:
        ada, bob, nobody = _as(running, "ada", "s3cret: ä"), _as(running, "bob", "other"), running.client()
        for name in ("team/x", "shared", "public/x", "private"):
            ada.push_image(name, "t", name.encode())
        for client, name, status in (
            *((bob, "team/x", 200), (bob, "shared", 200), (bob, "public/x", 403), (bob, "private", 403)),
            *((nobody, "public/x", 200), (nobody, "shared", 401), (nobody, "team/x", 401)),
        ):
            assert client.ask("GET", f"/v2/{name}/manifests/t").status == status, name
        bob.push_image("team/y", "t")
        assert bob.ask("DELETE", "/v2/team/x/manifests/t").codes == ["DENIED"]
        assert bob.ask("POST", "/v2/shared/blobs/uploads/").codes == ["DENIED"]
        assert bob.ask("GET", "/v2/_catalog").json["repositories"] == ["shared", "team/x", "team/y"]
        assert bob.ask("GET", "/v2/_catalog?n=1").json["repositories"] == ["shared"]
        assert nobody.ask("GET", "/v2/_catalog").json["repositories"] == ["public/x"]


def test_a_mount_needs_the_right_to_pull_from_the_source(users: Path, tmp_path: Path) -> None:
    """Else a digest that leaked would be enough to read what is private."""
    rules = tmp_path / "rules"
    rules.write_text("ada * pull,push\nbob team/* pull,push\n")
    with serving("--users", str(users), "--access", str(rules)) as running:
        blob = _as(running, "ada", "s3cret: ä").push_blob("private", b"secret bytes")
        bob = _as(running, "bob", "other")
        for query in (f"mount={blob}&from=private", f"mount={blob}"):
            assert bob.ask("POST", f"/v2/team/x/blobs/uploads/?{query}", b"").status == 202
        assert bob.ask("GET", f"/v2/team/x/blobs/{blob}").status == 404


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--listen", "0.0.0.0:0"), b"there are no users"),
        (("--listen", "nonsense"), b"is not HOST:PORT"),
        (("--listen", "127.0.0.1:99999"), b"is not HOST:PORT"),
        (("--listen", "127.0.0.1:0", "--anonymous", "none"), b"there are no users"),
        (("--listen", "127.0.0.1:0", "--users", "/nonexistent"), b"is not there"),
        (("--listen", "127.0.0.1:0", "--tls-client-ca", "x"), b"needs TLS"),
    ],
)
def test_what_cannot_be_served_is_said(options: tuple[str, ...], words: bytes) -> None:
    with temporary_root() as node:
        done = orlop(node, "registry", "serve", *options)
    assert done.returncode in (2, 3)
    assert words in done.stderr


def test_passwd_writes_what_serve_reads(tmp_path: Path) -> None:
    path = tmp_path / "users"
    with temporary_root() as node:
        for user, password in (("ada", b"one\n"), ("bob", b"two\n"), ("ada", b"three\n")):
            assert (
                orlop(node, "registry", "passwd", "--stdin", str(path), user, stdin=password).returncode == 0
            )
        assert orlop(node, "registry", "passwd", "--delete", str(path), "bob").returncode == 0
        assert orlop(node, "registry", "passwd", "--delete", str(path), "bob").returncode == 3
        assert orlop(node, "registry", "passwd", "--stdin", str(path), "c", stdin=b"\n").returncode == 2
    users = passwords.read(str(path))
    assert list(users) == ["ada"]
    assert users["ada"].startswith("$2y$")
    assert passwords.matches("three", users["ada"])
    assert not passwords.matches("one", users["ada"])
    assert path.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    "line",
    [
        *("ada:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=", "ada:$apr1$x$y", "ada:plain", "ada", ":$2y$05$abc"),
        "ada:$1$salt$qJH7.N4xYta3aEG/dfqo/0",
    ],
)
def test_weak_hashes_are_refused(tmp_path: Path, line: str) -> None:
    path = tmp_path / "users"
    path.write_text(f"# a comment\n\n{line}\n")
    with pytest.raises(InvalidInput, match="line 3"):
        passwords.read(str(path))


def test_hashes_of_other_tools(tmp_path: Path) -> None:
    """sha512crypt as openssl passwd(1) writes it."""
    made = subprocess.run(["openssl", "passwd", "-6", "word"], capture_output=True, text=True, check=True)
    path = tmp_path / "users"
    path.write_text(f"ada:{made.stdout.strip()}\n")
    assert passwords.matches("word", passwords.read(str(path))["ada"])
    assert not passwords.matches("ward", passwords.read(str(path))["ada"])


def test_an_unknown_user_takes_as_long_as_a_known_one() -> None:
    """The hash that stands for nobody's is a good one: it is computed, and matches nothing."""
    assert passwords._crypt(b"word", _NOBODY.encode()).startswith(_NOBODY[:29].encode())


def test_damaged_hashes_match_nothing() -> None:
    for entry in ("$2y$", "$2y$10$short", "$6$", "", "*0", "$2y$10$" + "ä" * 53):
        assert not passwords.matches("word", entry)


@pytest.mark.parametrize("user", ["", "a:b", "#a", "a\nb"])
def test_names_of_users_that_are_none(tmp_path: Path, user: str) -> None:
    with pytest.raises(InvalidInput):
        passwords.write(str(tmp_path / "users"), user, "word")


def test_users_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        passwords.read(str(tmp_path / "absent"))


@pytest.mark.parametrize("line", ["ada *", "ada * fly", "ada * pull push", "ada * pull,"])
def test_rules_that_are_none(tmp_path: Path, line: str) -> None:
    path = tmp_path / "rules"
    path.write_text(line)
    with pytest.raises(InvalidInput, match="line 1"):
        read_rules(str(path))
