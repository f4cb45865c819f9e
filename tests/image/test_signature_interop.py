"""cosign and containers/image as judges: they verify what we sign, we verify what they sign."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from orlop.image.signature import private_key
from orlop.image.signature.keys import PrivateKey
from tests.cli.program import orlop
from tests.image.signing import EMAIL, ISSUER, Sigstore, attach, keyed, policy, private_pem, public_pem
from tests.support.images import Image, Index, Layer, push, tar
from tests.support.registry import Registry, registry
from tools.builds import local, program

pytestmark = pytest.mark.host
IMAGE = Image((Layer(tar({"a": b"a"})),))
ARM = Image((Layer(tar({"c": b"c"})),), architecture="arm64")
_TAGS = "containers_image_openpgp,exclude_graphdriver_btrfs"


@pytest.fixture(scope="module")
def running() -> Iterator[Registry]:
    with registry() as one:
        yield one


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("COSIGN_PASSWORD", "secret")
    monkeypatch.setenv("TUF_MIRROR", "http://127.0.0.1:9")  # cosign asks nobody on the internet
    monkeypatch.chdir(tmp_path)
    (tmp_path / "registries.d").mkdir()
    (tmp_path / "registries.d/a.yaml").write_text("default-docker: {use-sigstore-attachments: true}\n")
    (tmp_path / "orlop.toml").write_text("")
    return tmp_path


def run_cosign(*arguments: str, code: int = 0, env: dict[str, str] | None = None) -> str:
    argv = [str(program("cosign")), *arguments]
    done = subprocess.run(
        argv, capture_output=True, text=True, check=False, timeout=120, env={**os.environ, **(env or {})}
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


def judge(*arguments: str) -> str:
    """containers/image in a program of ours."""
    path = local("policyjudge", Path(__file__).parent / "policyjudge", tags=_TAGS)
    done = subprocess.run([str(path), *arguments], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def allowed(home: Path, path: str, name: str) -> str:
    return judge("allowed", path, str(home / "registries.d"), f"docker://{name}")


def ours(home: Path, *arguments: str, code: int = 0) -> str:
    node = ("--root", f"{home}/r", "--state", f"{home}/s", "--config", f"{home}/orlop.toml")
    return orlop(*arguments[:2], *node, "--tls-verify", "false", *arguments[2:], code=code).stdout


def verified(home: Path, *arguments: str) -> Any:
    return json.loads(ours(home, "image", "verify", "--output", "json", *arguments))


def cosign_verify(*arguments: str, code: int = 0) -> Any:
    text = run_cosign("verify", "--insecure-ignore-tlog", "--allow-http-registry", *arguments, code=code)
    return json.loads(text) if code == 0 else None


def cosign_sign(*arguments: str) -> None:
    run_cosign("sign", "--tlog-upload=false", "--yes", "--allow-http-registry", *arguments)


def test_our_keys_and_signatures_are_cosigns(running: Registry, home: Path) -> None:
    orlop("image", "generate-key")
    name = push(running, "ours:1", IMAGE)
    ours(home, "image", "sign", "--key", "cosign.key", "-a", "build=42", name)
    told = cosign_verify("--key", "cosign.pub", "-a", "build=42", name)
    assert told[0]["critical"]["image"]["docker-manifest-digest"] == IMAGE.digest
    cosign_verify("--key", "cosign.pub", "-a", "build=43", name, code=12)
    orlop("image", "generate-key", "--prefix", "other")
    cosign_verify("--key", "other.pub", name, code=12)
    assert verified(home, "--key", "cosign.pub", "-a", "build=42", name)[0]["annotations"] == {"build": "42"}


def test_cosigns_keys_and_signatures_are_ours(running: Registry, home: Path) -> None:
    run_cosign("generate-key-pair")
    name = push(running, "theirs:1", IMAGE)
    cosign_sign("--key", "cosign.key", "-a", "build=42", name)
    ours(home, "image", "sign", "--key", "cosign.key", name)  # with their key, beside their signature
    found = verified(home, "--key", "cosign.pub", name)
    assert [one["reference"] for one in found] == [name.rpartition(":")[0], name]
    assert len(cosign_verify("--key", "cosign.pub", name)) == 2
    ours(home, "image", "verify", "--key", "cosign.pub", "-a", "build=43", name, code=5)


@pytest.mark.parametrize(
    "key",
    [
        ec.generate_private_key(ec.SECP384R1()),
        ec.generate_private_key(ec.SECP521R1()),
        rsa.generate_private_key(65537, 2048),
        ed25519.Ed25519PrivateKey.generate(),
    ],
    ids=["p384", "p521", "rsa", "ed25519"],
)
def test_keys_of_every_kind_both_ways(key: PrivateKey, running: Registry, home: Path) -> None:
    (home / "key.pem").write_bytes(private_pem(key))
    (home / "key.pub").write_bytes(public_pem(key))
    (home / "key.cosign").write_bytes(private_key.encrypted(key, b"secret"))
    repository = f"kind-{type(key).__name__.lower()}-{getattr(key, 'key_size', 0)}"
    name = push(running, f"{repository}:1", IMAGE)
    ours(home, "image", "sign", "--key", "key.pem", name)
    cosign_verify("--key", "key.pub", name)
    other = push(running, f"{repository}:2", ARM)
    cosign_sign("--key", "key.cosign", other)
    assert verified(home, "--key", "key.pub", other)


def test_referrers_both_ways(running: Registry, home: Path) -> None:
    run_cosign("generate-key-pair")
    name = push(running, "refer:ours", IMAGE)
    ours(home, "image", "sign", "--key", "cosign.key", "--attach", "referrers", name)
    cosign_verify("--key", "cosign.pub", "--experimental-oci11", name)
    other = push(running, "refer:theirs", ARM)
    argv = ("sign", "--tlog-upload=false", "--yes", "--allow-http-registry", "--key", "cosign.key")
    run_cosign(*argv, "--registry-referrers-mode=oci-1-1", other, env={"COSIGN_EXPERIMENTAL": "1"})
    assert verified(home, "--key", "cosign.pub", other)


def test_bundles_of_cosigns(running: Registry, home: Path) -> None:
    run_cosign("generate-key-pair")
    name = push(running, "bundle:1", IMAGE)
    cosign_sign("--key", "cosign.key", "--new-bundle-format", name)
    found = verified(home, "--key", "cosign.pub", name)
    assert [(one["kind"], one["digest"]) for one in found] == [("bundle", IMAGE.digest)]
    orlop("image", "generate-key", "--prefix", "other")
    ours(home, "image", "verify", "--key", "other.pub", name, code=5)


def test_an_index_and_all_that_is_in_it(running: Registry, home: Path) -> None:
    orlop("image", "generate-key")
    index = Index((ARM, IMAGE))
    name = push(running, "index:1", index)
    ours(home, "image", "sign", "--key", "cosign.key", "--recursive", name)
    for digest in (index.digest, ARM.digest, IMAGE.digest):
        cosign_verify("--key", "cosign.pub", f"{running.address}/index@{digest}")
    other = push(running, "index2:1", index)
    cosign_sign("--key", "cosign.key", "--recursive", other)
    assert verified(home, "--key", "cosign.pub", f"{running.address}/index2@{ARM.digest}")


def test_keyless_signatures_for_all_three(running: Registry, home: Path) -> None:
    sigstore = Sigstore()
    files = sigstore.files(home)
    name = push(running, "keyless:1", IMAGE)
    attach(running, "keyless", IMAGE.digest, [sigstore.attached(IMAGE.digest, name)])
    told = ("--certificate-identity", EMAIL, "--certificate-oidc-issuer", ISSUER)
    (home / "chain.pem").write_text(Path(files["intermediate"]).read_text() + Path(files["root"]).read_text())
    theirs = (
        "--certificate-chain",
        "chain.pem",
        "--insecure-ignore-sct",
        "--allow-http-registry",
        "--offline",
    )
    environment = {"SIGSTORE_REKOR_PUBLIC_KEY": files["rekor"]}
    run_cosign("verify", *told, *theirs, name, env=environment)
    found = verified(home, *told, "--roots", files["root"], "--rekor-key", files["rekor"], name)
    assert (found[0]["subject"], found[0]["issuer"], found[0]["log_index"]) == (EMAIL, ISSUER, 7)
    fulcio = {"caPath": files["root"], "oidcIssuer": ISSUER, "subjectEmail": EMAIL}
    wanted = {"type": "sigstoreSigned", "fulcio": fulcio, "rekorPublicKeyPath": files["rekor"]}
    path = policy(home / "p.json", wanted)
    assert allowed(home, path, name) == "yes"
    assert verified(home, "--policy", path, name)
    ours(home, "image", "verify", *told, "--roots", files["root"], name, code=5)  # without the log: expired


@pytest.mark.parametrize(
    ("claimed", "rule", "answer"),
    [
        ("{name}", None, True),
        ("{repository}", None, False),
        ("{repository}", {"type": "matchRepository"}, True),
        ("{repository}:2", None, False),
        ("{repository}:2", {"type": "matchRepository"}, True),
        ("{repository}-evil:1", {"type": "matchRepository"}, False),
        ("other.example/app:1", {"type": "exactReference", "dockerReference": "other.example/app:1"}, True),
        ("other.example/app:2", {"type": "exactReference", "dockerReference": "other.example/app:1"}, False),
        ("other.example/app", {"type": "exactRepository", "dockerRepository": "other.example/app"}, True),
        (
            "other.example/same:1",
            {"type": "remapIdentity", "prefix": "{address}", "signedPrefix": "other.example"},
            True,
        ),
        (
            "{name}",
            {"type": "remapIdentity", "prefix": "{address}", "signedPrefix": "other.example"},
            False,
        ),
    ],
)
def test_policies_answer_as_containers_image_does(
    claimed: str, rule: dict[str, str] | None, answer: bool, running: Registry, home: Path
) -> None:
    name = push(running, "same:1", IMAGE)
    words = {"name": name, "repository": name.rpartition(":")[0], "address": running.address}
    key = ec.generate_private_key(ec.SECP256R1())
    (home / "key.pub").write_bytes(public_pem(key))

    attach(running, "same", IMAGE.digest, [keyed(key, IMAGE.digest, claimed.format(**words))])
    wanted: dict[str, Any] = {"type": "sigstoreSigned", "keyPath": str(home / "key.pub")}
    if rule is not None:
        wanted["signedIdentity"] = {one: value.format(**words) for one, value in rule.items()}
    path = policy(home / "p.json", wanted)
    assert allowed(home, path, name).startswith("yes" if answer else "no:")
    ours(home, "image", "verify", "--policy", path, name, code=0 if answer else 5)


def test_what_containers_image_signs_and_what_it_verifies(running: Registry, home: Path) -> None:
    orlop("image", "generate-key")
    name = push(running, "judge:1", IMAGE)
    judge("sign", "cosign.key", "secret", str(home / "registries.d"), f"docker://{name}")
    assert verified(home, "--key", "cosign.pub", name)[0]["reference"] == name
    ours(home, "image", "sign", "--key", "cosign.key", name)
    path = policy(home / "p.json", {"type": "sigstoreSigned", "keyPath": str(home / "cosign.pub")})
    assert allowed(home, path, name) == "yes"
    other = push(running, "judge2:1", IMAGE)
    assert allowed(home, path, other).startswith("no:")
    ours(home, "image", "sign", "--key", "cosign.key", other)
    assert allowed(home, path, other) == "yes"
