"""sign, verify, generate-key, and the policy of pull and copy, as a user has them."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from orlop.image.signature import private_key
from orlop.image.signature.model import packed
from tests.cli.program import answer, orlop
from tests.image.signing import keyed, policy, private_pem, public_pem
from tests.support.images import Image, Index, Layer, push, tar, write_layout
from tests.support.registry import Registry, registry

pytestmark = pytest.mark.host
IMAGE = Image((Layer(tar({"a": b"a"})),))
ARM = Image((Layer(tar({"c": b"c"})),), architecture="arm64")
NAME = "registry.example/app:1"
TLS = ("--tls-verify", "false")


@pytest.fixture(scope="module")
def running() -> Iterator[Registry]:
    with registry() as one:
        yield one


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("ORLOP_ROOT", str(tmp_path / "r"))
    monkeypatch.setenv("ORLOP_STATE", str(tmp_path / "s"))
    monkeypatch.setenv("ORLOP_CONFIG", str(tmp_path / "orlop.toml"))
    monkeypatch.delenv("COSIGN_PASSWORD", raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "orlop.toml").write_text("")
    key = ec.generate_private_key(ec.SECP256R1())
    (tmp_path / "key.pem").write_bytes(private_pem(key))
    (tmp_path / "key.pub").write_bytes(public_pem(key))
    other = ec.generate_private_key(ec.SECP256R1())
    (tmp_path / "other.pub").write_bytes(public_pem(other))
    return tmp_path


def test_keys_are_made_once(home: Path) -> None:
    (home / "password").write_text("secret\nmore\n")
    made = answer("image", "generate-key", "--password-file", "password", "--prefix", "mine")
    assert (made["key"], made["public_key"]) == ("mine.key", "mine.pub")
    assert (home / "mine.key").stat().st_mode & 0o777 == 0o600
    again = orlop("image", "generate-key", "--password-file", "password", "--prefix", "mine", code=4)
    assert "is there already" in again.stderr
    assert "COSIGN_PASSWORD" in orlop("image", "generate-key", "--prefix", "x", code=2).stderr
    assert not (home / "x.key").exists()
    orlop("image", "generate-key", "--prefix", "absent/x", "--password-file", "password", code=2)


def test_a_wrong_password_signs_nothing(running: Registry, home: Path) -> None:
    name = push(running, "locked:1", IMAGE)
    (home / "password").write_text("secret")
    (home / "wrong").write_text("guess")
    orlop("image", "generate-key", "--password-file", "password")
    orlop("image", "sign", *TLS, "--key", "cosign.key", "--password-file", "wrong", name, code=5)
    orlop("image", "verify", *TLS, "--key", "cosign.pub", name, code=5)
    orlop("image", "sign", *TLS, "--key", "cosign.key", "--password-file", "password", name)
    orlop("image", "verify", *TLS, "--key", "cosign.pub", name)


def test_what_was_verified_is_said(running: Registry) -> None:
    name = push(running, "said:1", IMAGE)
    done = answer("image", "sign", *TLS, "--key", "key.pem", "-a", "team=blue", name)
    assert [one["digest"] for one in done] == [IMAGE.digest]
    line = orlop("image", "verify", *TLS, "--key", "other.pub", "--key", "key.pub", name).stdout
    assert line.startswith(f"{IMAGE.digest}, signed as {name}, by ")
    found = answer("image", "verify", *TLS, "--key", "key.pub", "-a", "team=blue", name)
    assert (found[0]["kind"], found[0]["annotations"], found[0]["log_index"]) == (
        "sigstore",
        {"team": "blue"},
        -1,
    )
    refusal = orlop("image", "verify", *TLS, "--key", "other.pub", name, code=5)
    assert "not by a key that is trusted" in refusal.stderr
    orlop("image", "verify", *TLS, "--key", "key.pub", "-a", "team=red", name, code=5)
    orlop("image", "verify", *TLS, "--key", "absent.pub", name, code=2)
    orlop("image", "verify", *TLS, name, code=2)
    orlop("image", "verify", *TLS, "--key", "key.pub", "--gpg-keyring", "key.pub", name, code=2)
    orlop("image", "verify", *TLS, "--roots", "key.pub", name, code=2)
    orlop("image", "verify", *TLS, "--key", "key.pub", running.reference("nothing:1"), code=3)


def test_a_tag_that_was_moved(running: Registry) -> None:
    name = push(running, "tags:1", IMAGE)
    orlop("image", "sign", *TLS, "--key", "key.pem", name)
    other = push(running, "tags:2", IMAGE)
    refusal = orlop("image", "verify", *TLS, "--key", "key.pub", other, code=5)
    assert name in refusal.stderr
    orlop("image", "verify", *TLS, "--key", "key.pub", "--signed-as", name, other)
    orlop("image", "verify", *TLS, "--key", "key.pub", f"{running.address}/tags@{IMAGE.digest}")
    elsewhere = push(running, "elsewhere:1", IMAGE)
    orlop("image", "verify", *TLS, "--key", "key.pub", elsewhere, code=5)


def test_an_index_and_one_of_its_images(running: Registry) -> None:
    index = Index((ARM, IMAGE))
    name = push(running, "index:1", index)
    made = answer("image", "sign", *TLS, "--key", "key.pem", "--recursive", name)
    assert [one["digest"] for one in made] == [index.digest, ARM.digest, IMAGE.digest]
    other = push(running, "index2:1", index)
    orlop("image", "sign", *TLS, "--key", "key.pem", f"{running.address}/index2@{ARM.digest}")
    orlop("image", "verify", *TLS, "--key", "key.pub", other, code=5)
    chosen = answer("image", "verify", *TLS, "--key", "key.pub", "--platform", "linux/arm64", other)
    assert chosen[0]["digest"] == ARM.digest
    orlop("image", "verify", *TLS, "--key", "key.pub", "--platform", "linux/amd64", other, code=5)


def test_a_layout_keeps_its_signatures(home: Path) -> None:
    write_layout(home / "layout", {"1": IMAGE})
    orlop("image", "sign", "--key", "key.pem", "oci:layout:1", code=2)  # under which name?
    orlop("image", "sign", "--key", "key.pem", "--identity", NAME, "oci:layout:1")
    found = answer("image", "verify", "--key", "key.pub", "oci:layout:1")
    assert [(one["digest"], one["reference"]) for one in found] == [(IMAGE.digest, NAME)]
    orlop("image", "verify", "--key", "key.pub", "--signed-as", "registry.example/app", "oci:layout:1")
    orlop("image", "verify", "--key", "key.pub", "--signed-as", "registry.example/ap", "oci:layout:1", code=5)
    orlop("image", "sign", "--key", "key.pem", "--identity", NAME, "dir:layout", code=9)


def test_a_signature_that_the_tag_has_no_place_for(running: Registry) -> None:
    name = push(running, "taken:1", IMAGE)
    push(running, f"taken:{IMAGE.digest.replace(':', '-')}.sig", ARM)
    refusal = orlop("image", "sign", *TLS, "--key", "key.pem", name, code=4)
    assert "something else" in refusal.stderr
    orlop("image", "sign", *TLS, "--key", "key.pem", "--attach", "referrers", name)
    orlop("image", "verify", *TLS, "--key", "key.pub", name)


def gpg(home: Path, *arguments: str) -> str:
    argv = ["gpg", "--batch", "--passphrase", "", "--pinentry-mode", "loopback", *arguments]
    return subprocess.run(argv, capture_output=True, text=True, check=True, timeout=60).stdout


@pytest.fixture
def gpg_key(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    import shutil
    import tempfile

    folder = tempfile.mkdtemp(prefix="og-", dir="/tmp")
    monkeypatch.setenv("GNUPGHOME", folder)
    try:
        gpg(home, "--quick-generate-key", "ada@example.org", "ed25519", "sign", "never")
        lines = gpg(home, "--with-colons", "--list-keys").splitlines()
        fingerprint = next(line.split(":")[9] for line in lines if line.startswith("fpr"))
        gpg(home, "--output", str(home / "ada.gpg"), "--export", fingerprint)
        yield fingerprint
    finally:
        subprocess.run(["gpgconf", "--kill", "all"], check=False, timeout=30)
        shutil.rmtree(folder, ignore_errors=True)


def test_folders_and_lookasides_have_simple_signatures(running: Registry, home: Path, gpg_key: str) -> None:
    name = push(running, "simple:1", IMAGE)
    orlop("image", "copy", "--src-tls-verify", "false", f"docker://{name}", "dir:folder")
    orlop("image", "sign", "--gpg-key", gpg_key, "--identity", NAME, "dir:folder")
    found = answer("image", "verify", "--gpg-keyring", "ada.gpg", "dir:folder")
    assert [(one["kind"], one["reference"], one["key"]) for one in found] == [("simple", NAME, gpg_key)]
    orlop("image", "verify", "--gpg-keyring", "ada.gpg", "--signed-as", "x.example/y", "dir:folder", code=5)
    (home / ".config/containers/registries.d").mkdir(parents=True)
    (home / ".config/containers/registries.d/a.yaml").write_text(
        f"default-docker:\n  lookaside: file://{home}/look\n"
    )
    orlop("image", "verify", *TLS, "--gpg-keyring", "ada.gpg", name, code=5)
    orlop("image", "sign", *TLS, "--gpg-key", gpg_key, name)
    orlop("image", "verify", *TLS, "--gpg-keyring", "ada.gpg", name)
    orlop("image", "sign", *TLS, "--gpg-key", "0" * 40, name, code=5)


def test_sigstore_signatures_of_a_folder_are_attached_at_a_registry(running: Registry, home: Path) -> None:
    """Folders have them in the form of containers/image."""
    name = push(running, "folder:1", IMAGE)
    orlop("image", "copy", "--src-tls-verify", "false", f"docker://{name}", "dir:folder")
    key = private_key.load((home / "key.pem").read_bytes(), b"", "key")
    target = running.reference("fromfolder:1")
    signature = keyed(key, IMAGE.digest, target)
    (home / "folder/signature-1").write_bytes(packed(signature))
    orlop("image", "verify", "--key", "key.pub", "dir:folder")
    for _ in range(2):
        orlop("image", "copy", "--dest-tls-verify", "false", "dir:folder", f"docker://{target}")
        assert len(answer("image", "verify", *TLS, "--key", "key.pub", target)) == 1


def test_pulls_and_copies_ask_the_policy(running: Registry, home: Path) -> None:
    name = push(running, "guarded:1", Index((ARM, IMAGE)))
    wanted = {"type": "sigstoreSigned", "keyPath": str(home / "key.pub")}
    path = policy(home / "policy.json", wanted)
    asked = ("--signature-policy", path)
    refusal = orlop("image", "pull", *TLS, *asked, name, code=5)
    assert "the policy wants a sigstore signature" in refusal.stderr
    assert answer("image", "list") == []
    copying = ("--src-tls-verify", "false", "--all")
    for target in ("dir:out", "store:copied:1"):
        options = copying[:2] if target.startswith("store") else copying
        orlop("image", "copy", *options, *asked, f"docker://{name}", target, code=5)
    assert not (home / "out").exists() or not list((home / "out").iterdir())
    assert "rejects" in orlop("image", "copy", *asked, "oci:layout:1", "dir:out", code=5).stderr
    orlop("image", "sign", *TLS, "--key", "key.pem", name)
    orlop("image", "copy", *copying, *asked, f"docker://{name}", "dir:out")
    orlop("image", "pull", *TLS, *asked, name)
    assert answer("image", "verify", *TLS, "--policy", path, name)[0]["reference"] == name


def test_the_policy_of_the_configuration_and_of_the_home(running: Registry, home: Path) -> None:
    name = push(running, "configured:1", IMAGE)
    path = home / ".config/containers/policy.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"default": [{"type": "reject"}]}))
    orlop("image", "pull", *TLS, name, code=5)
    (home / "accept.json").write_text(json.dumps({"default": [{"type": "insecureAcceptAnything"}]}))
    (home / "orlop.toml").write_text(f'[image]\npolicy = "{home}/accept.json"\n')
    orlop("image", "pull", *TLS, name)
    orlop("image", "pull", *TLS, "--signature-policy", str(path), name, code=5)
    (home / "accept.json").unlink()
    assert "cannot be read" in orlop("image", "pull", *TLS, name, code=2).stderr


def test_builds_ask_the_policy_for_what_they_begin_with(running: Registry, home: Path) -> None:
    name = push(running, "base:1", IMAGE)
    (home / "Containerfile").write_text(f"FROM {name}\nENV A=b\n")
    orlop("image", "pull", *TLS, name)
    (home / "orlop.toml").write_text(f'[image]\npolicy = "{home}/policy.json"\n')
    policy(home / "policy.json", {"type": "sigstoreSigned", "keyPath": str(home / "key.pub")})
    refusal = orlop("build", "--tag", "built:1", ".", code=5)
    assert "the policy wants a sigstore signature" in refusal.stderr
    orlop("image", "sign", *TLS, "--key", "key.pem", name)
    orlop("image", "pull", *TLS, name)
    orlop("build", "--tag", "built:1", ".")
    # What was built is pushed, then signed; unless the policy speaks of the store itself.
    built = running.reference("built:1")
    orlop("push", *TLS, "localhost/built:1", f"docker://{built}")
    orlop("image", "sign", *TLS, "--key", "key.pem", built)
    document = json.loads((home / "policy.json").read_text())
    document["transports"]["store"] = {"": [{"type": "reject"}]}
    (home / "policy.json").write_text(json.dumps(document))
    assert "rejects" in orlop("push", *TLS, "localhost/built:1", f"docker://{built}", code=5).stderr
