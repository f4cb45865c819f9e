"""policy.json: what is read, what is refused, which scope decides, which names are good."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import Any

import pytest

from orlop.image.policy import model, scopes
from orlop.image.policy.gate import asked_of
from orlop.image.policy.identity import matches
from orlop.image.policy.load import load
from orlop.image.policy.model import IdentityRule, Policy, Reject, SignedBy, SigstoreSigned
from orlop.image.policy.parse import parse
from orlop.image.reference import Reference
from orlop.image.transport.locate import parse as location
from orlop.kit.errors import InvalidInput, LimitExceeded

ACCEPT = {"type": "insecureAcceptAnything"}
REJECT = {"type": "reject"}
DATA = base64.b64encode(b"key").decode()
SIGNED: dict[str, Any] = {"type": "signedBy", "keyType": "GPGKeys", "keyPath": "/k"}
SIGSTORE: dict[str, Any] = {"type": "sigstoreSigned", "keyPath": "/k"}
FULCIO = {"caPath": "/ca", "oidcIssuer": "https://i", "subjectEmail": "a@b"}
PKI = {"caRootsPath": "/ca", "subjectEmail": "a@b"}


def read(document: Any) -> Policy:
    return parse(json.dumps(document).encode())


def required(requirement: Any) -> Policy:
    return read({"default": [requirement]})


def test_everything_that_the_manual_has_is_read() -> None:
    found = read(
        {
            "default": [REJECT],
            "transports": {
                "docker": {
                    "registry.example/app": [SIGNED, {**SIGSTORE, "rekorPublicKeyData": DATA}],
                    "*.example": [{**SIGNED, "keyPath": "/a", "signedIdentity": {"type": "matchExact"}}],
                    "": [ACCEPT],
                },
                "dir": {"/srv": [ACCEPT]},
                "unheard-of": {"anything": [REJECT]},
            },
        }
    )
    assert found.default == (Reject(),)
    app = found.transports["docker"]["registry.example/app"]
    assert isinstance(app[0], SignedBy)
    assert isinstance(app[1], SigstoreSigned)
    assert app[1].rekor.data == (b"key",)
    assert app[0].identity == IdentityRule(model.MATCH_REPO_DIGEST_OR_EXACT)


@pytest.mark.parametrize(
    "requirement",
    [
        {**SIGNED, "keyPaths": ["/a", "/b"], "keyPath": None},
        {k: v for k, v in SIGNED.items() if k != "keyPath"} | {"keyData": DATA},
        {"type": "sigstoreSigned", "keyDatas": [DATA, DATA]},
        {"type": "sigstoreSigned", "fulcio": FULCIO, "rekorPublicKeyPaths": ["/r"]},
        {"type": "sigstoreSigned", "pki": PKI},
        {"type": "sigstoreSigned", "pki": {**PKI, "caIntermediatesData": DATA, "subjectHostname": "h"}},
        {**SIGSTORE, "signedIdentity": {"type": "exactReference", "dockerReference": "r.io/a:1"}},
        {**SIGSTORE, "signedIdentity": {"type": "exactRepository", "dockerRepository": "r.io/a"}},
        {**SIGSTORE, "signedIdentity": {"type": "remapIdentity", "prefix": "r.io", "signedPrefix": "s.io/x"}},
    ],
)
def test_forms_of_requirements(requirement: dict[str, Any]) -> None:
    assert required({key: value for key, value in requirement.items() if value is not None}).default


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({}, "lacks 'default'"),
        ({"default": []}, "not a list of requirements"),
        ({"default": REJECT}, "not a list of requirements"),
        ({"default": [REJECT], "defaults": []}, "no such key: 'defaults'"),
        ({"default": [REJECT], "transports": []}, "not an object"),
        ({"default": [REJECT], "transports": {"docker": []}}, "object of objects"),
        ({"default": [REJECT], "transports": {"docker": {"": []}}}, "not a list of requirements"),
        ({"default": [{"type": "accept"}]}, "has the type 'accept'"),
        ({"default": [{**ACCEPT, "keyPath": "/k"}]}, "no such key"),
        ({"default": [{"type": "signedBy", "keyPath": "/k"}]}, "keyType"),
        ({"default": [{**SIGNED, "keyType": "X509Certificates"}]}, "not supported"),
        ({"default": [{**SIGNED, "keyData": DATA}]}, "has 2 of"),
        ({"default": [{"type": "signedBy", "keyType": "GPGKeys"}]}, "has 0 of"),
        ({"default": [{**SIGNED, "keyPath": ""}]}, "something in it"),
        ({"default": [{"type": "signedBy", "keyType": "GPGKeys", "keyPaths": []}]}, "list of strings"),
        ({"default": [{**SIGNED, "signedIdentity": {"type": "matchAll"}}]}, "has the type 'matchAll'"),
        ({"default": [{**SIGNED, "signedIdentity": "matchExact"}]}, "not an object"),
        ({"default": [{"type": "sigstoreSigned", "keyData": "!"}]}, "base64"),
        ({"default": [{"type": "sigstoreSigned"}]}, "keys, fulcio or pki"),
        ({"default": [{**SIGSTORE, "pki": PKI}]}, "keys, fulcio or pki"),
        ({"default": [{"type": "sigstoreSigned", "fulcio": FULCIO}]}, "key of the log"),
        ({"default": [{"type": "sigstoreSigned", "pki": PKI, "rekorPublicKeyPath": "/r"}]}, "the log"),
        ({"default": [{"type": "sigstoreSigned", "pki": {"caRootsPath": "/c"}}]}, "says nothing of"),
        ({"default": [REJECT], "transports": {"dir": {"srv": [REJECT]}}}, "not a whole path"),
        ({"default": [REJECT], "transports": {"oci": {"/srv/../etc": [REJECT]}}}, "not a whole path"),
        ({"default": [REJECT], "transports": {"docker-archive": {"x": [REJECT]}}}, "no scopes"),
    ],
)
def test_what_is_not_a_policy_is_refused_whole(document: Any, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        read(document)


def test_keys_that_stand_twice_and_broken_json_are_refused() -> None:
    for text in (b'{"default": [], "default": [{"type":"reject"}]}', b"{", b"[]", b"\xff", b"null"):
        with pytest.raises(InvalidInput):
            parse(text)


@pytest.mark.parametrize(
    ("rule", "value"),
    [
        ("exactReference", {"dockerReference": "r.io/app"}),
        ("exactReference", {"dockerReference": "UPPER"}),
        ("remapIdentity", {"prefix": "r.io/", "signedPrefix": "s.io"}),
        ("remapIdentity", {"prefix": "r.io"}),
    ],
)
def test_identities_that_could_never_match_are_refused(rule: str, value: dict[str, str]) -> None:
    with pytest.raises(InvalidInput):
        required({**SIGNED, "signedIdentity": {"type": rule, **value}})


def _decides(name: str, *listed: str) -> str:
    policy = read({"default": [REJECT], "transports": {"docker": {scope: [ACCEPT] for scope in listed}}})
    return scopes.requirements(policy, scopes.docker(Reference.parse(name)))[1]


@pytest.mark.parametrize(
    ("name", "listed", "decides"),
    [
        ("r.example:5000/ns/app:1", ("r.example:5000/ns/app:1", "r.example:5000/ns/app"), "ns/app:1"),
        ("r.example:5000/ns/app:2", ("r.example:5000/ns/app:1", "r.example:5000/ns/app"), "ns/app"),
        ("r.example:5000/ns/other", ("r.example:5000/ns/app", "r.example:5000/ns", ""), "5000/ns"),
        ("r.example:5000/ns/app", ("r.example:5000", "r.example", "*.example"), "r.example:5000"),
        ("r.example:5000/ns/app", ("r.example", "*.example", ""), "*.example"),
        ("a.b.example/app", ("*.example", "*.b.example"), "*.b.example"),
        ("a.b.example/app", ("b.example", "example", ""), "docker: ''"),
        ("example/app", ("*.docker.io", "docker.io/example"), "docker.io/example"),
        ("busybox", ("docker.io/library/busybox", "busybox"), "docker.io/library/busybox"),
        ("r.example/nsx/app", ("r.example/ns",), "default"),
        ("r.example/app@sha256:" + "0" * 64, ("r.example/app@sha256:" + "0" * 64, "r.example/app"), "0" * 64),
    ],
)
def test_the_most_specific_scope_decides(name: str, listed: tuple[str, ...], decides: str) -> None:
    assert decides in _decides(name, *listed)


def test_scopes_of_paths_lead_upwards(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    asked = asked_of(location(f"oci:{tmp_path}/link:app"))
    assert asked.scopes[:3] == (f"{tmp_path}/real:app", f"{tmp_path}/real", str(tmp_path))
    assert asked.scopes[-1] == ""
    assert "/" not in asked.scopes
    assert asked_of(location(f"dir:{tmp_path}")).scopes[0] == str(tmp_path)
    assert asked_of(location("docker-archive:/x.tar:app")).scopes == ("",)
    assert asked_of(location("store:localhost/app:1")).scopes[0] == "localhost/app:1"


DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("kind", "asked", "claimed", "good"),
    [
        (model.MATCH_EXACT, "r.io/app:1", "r.io/app:1", True),
        (model.MATCH_EXACT, "r.io/app:1", "r.io/app:2", False),
        (model.MATCH_EXACT, "r.io/app:latest", "r.io/app", False),
        (model.MATCH_EXACT, "r.io/app:1", "r.io/app@" + DIGEST, False),
        (model.MATCH_EXACT, "busybox:1", "busybox:1", True),
        (model.MATCH_REPO_DIGEST_OR_EXACT, "r.io/app:1", "r.io/app:1", True),
        (model.MATCH_REPO_DIGEST_OR_EXACT, "r.io/app:1", "r.io/app:moved", False),
        (model.MATCH_REPO_DIGEST_OR_EXACT, "r.io/app@" + DIGEST, "r.io/app:any", True),
        (model.MATCH_REPO_DIGEST_OR_EXACT, "r.io/app@" + DIGEST, "r.io/apps:any", False),
        (model.MATCH_REPO_DIGEST_OR_EXACT, "r.io/app@" + DIGEST, "r.io/app", False),
        (model.MATCH_REPOSITORY, "r.io/app:1", "r.io/app:2", True),
        (model.MATCH_REPOSITORY, "r.io/app:1", "r.io/app", True),
        (model.MATCH_REPOSITORY, "r.io/app:1", "r.io/app-evil", False),
        (model.MATCH_REPOSITORY, "r.io/app:1", "r.io/app/sub", False),
        (model.MATCH_REPOSITORY, "r.io/app:1", "r.io:443/app", False),
        (model.MATCH_REPOSITORY, "r.io/app:1", "", False),
        (model.MATCH_REPOSITORY, "r.io/app:1", "not a name", False),
        (model.MATCH_DIGEST, "r.io/app:1", "", True),
    ],
)
def test_names_in_signatures(kind: str, asked: str, claimed: str, good: bool) -> None:
    assert matches(IdentityRule(kind), Reference.parse(asked), claimed) is good


def test_names_that_the_policy_says_itself() -> None:
    exact = IdentityRule(model.EXACT_REFERENCE, "r.io/app:1")
    assert matches(exact, None, "r.io/app:1")
    assert not matches(exact, None, "r.io/app")
    repository = IdentityRule(model.EXACT_REPOSITORY, "docker.io/library/app")
    assert matches(repository, None, "app:7")
    assert not matches(repository, None, "r.io/app:7")


@pytest.mark.parametrize(
    ("asked", "claimed", "good"),
    [
        ("mirror.io/vendor/app:1", "vendor.io/app:1", True),
        ("mirror.io/vendor/app:1", "mirror.io/vendor/app:1", False),
        ("mirror.io/vendorx/app:1", "vendor.io/x/app:1", False),
        ("mirror.io/vendorx/app:1", "mirror.io/vendorx/app:1", True),
        ("other.io/app:1", "other.io/app:1", True),
        ("mirror.io/vendor/app@" + DIGEST, "vendor.io/app:9", True),
    ],
)
def test_remapped_names(asked: str, claimed: str, good: bool) -> None:
    rule = IdentityRule(model.REMAP, "", "mirror.io/vendor", "vendor.io")
    assert matches(rule, Reference.parse(asked), claimed) is good


def test_a_file_that_accepts_everything_costs_no_parser(tmp_path: Path) -> None:
    path = tmp_path / "policy.json"
    path.write_text('{"default": [\n {"type":\t"insecureAcceptAnything"}]}')
    assert load(str(path)) is None
    path.write_text(json.dumps({"default": [ACCEPT], "transports": {"docker": {"x.io": [ACCEPT]}}}))
    assert load(str(path)) is None
    path.write_text(json.dumps({"default": [ACCEPT], "transports": {"docker": {"x.io": [REJECT]}}}))
    assert load(str(path)) is not None


def test_what_cannot_be_read_accepts_nothing(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="cannot be read"):
        load(str(tmp_path / "absent.json"))
    (tmp_path / "folder").mkdir()
    with pytest.raises(InvalidInput):
        load(str(tmp_path / "folder"))
    (tmp_path / "empty").write_text("")
    with pytest.raises(InvalidInput):
        load(str(tmp_path / "empty"))
    (tmp_path / "large").write_bytes(b" " * (2 << 20))
    with pytest.raises(LimitExceeded):
        load(str(tmp_path / "large"))


def test_the_home_comes_before_the_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = tmp_path / ".config/containers"
    folder.mkdir(parents=True)
    (folder / "policy.json").write_text(json.dumps({"default": [REJECT]}))
    found = load()
    assert found is not None
    assert found.path == str(folder / "policy.json")
    (folder / "policy.json").unlink()
    (folder / "policy.json").symlink_to("nowhere")
    with pytest.raises(InvalidInput):
        load()


@pytest.mark.skipif(os.geteuid() != 0, reason="a file is given away")
def test_root_takes_no_policy_of_a_users_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("orlop.image.policy.load.SYSTEM_FILE", str(tmp_path / "system.json"))
    (tmp_path / "system.json").write_text(json.dumps({"default": [REJECT]}))
    own = tmp_path / ".config/containers/policy.json"
    own.parent.mkdir(parents=True)
    own.write_text(json.dumps({"default": [ACCEPT]}))
    os.chown(own, 1000, 1000)
    assert load() is not None
    os.chown(own, 0, 0)
    assert load() is None


def test_without_a_file_everything_is_accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("orlop.image.policy.load.SYSTEM_FILE", str(tmp_path / "absent.json"))
    assert load() is None
