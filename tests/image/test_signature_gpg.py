"""Simple signing: we verify what skopeo signs, skopeo and podman what we sign; what is no signature."""

from __future__ import annotations

import asyncio
import functools
import http.server
import json
import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orlop.image.digest import Digest
from orlop.image.fake_sink import FakeSink
from orlop.image.policy.errors import PolicyRefused
from orlop.image.pull import pull
from orlop.image.registries.load import parse
from orlop.image.settings import ImageSettings
from orlop.image.signature import gpg, lookaside, payload, simple
from orlop.image.signature.gpg import Keyring
from orlop.image.signature.model import BadSignature, Simple
from orlop.kit.errors import Denied, InvalidInput
from tests.cli.program import orlop
from tests.image.signing import policy, raw_of
from tests.support.images import Image, Index, Layer, push, tar
from tests.support.registry import Registry, registry

pytestmark = pytest.mark.host
IMAGE = Image((Layer(tar({"a": b"a"})),))
OTHER = Image((Layer(tar({"b": b"b"})),))
NAME = "registry.example/app:1"


class Gpg:
    """A keyring of a test's own, with its agent."""

    def __init__(self, home: str) -> None:
        self.home = home

    def run(self, *arguments: str, stdin: bytes = b"") -> bytes:
        argv = ["gpg", "--homedir", self.home, "--batch", "--yes", "--pinentry-mode", "loopback", *arguments]
        done = subprocess.run(argv, input=stdin, capture_output=True, check=False, timeout=60)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout

    def key(self, name: str, *options: str, passphrase: str = "") -> str:
        """A new key's fingerprint."""
        quick = ("--quick-generate-key", name, "ed25519", "sign", "never")
        self.run("--passphrase", passphrase, *options, *quick)
        lines = self.run("--with-colons", "--list-keys", name).decode().splitlines()
        return next(line.split(":")[9] for line in lines if line.startswith("fpr"))

    def public(self, fingerprint: str) -> bytes:
        return self.run("--export", fingerprint)

    def signed(self, fingerprint: str, data: bytes, *options: str) -> bytes:
        return self.run("--local-user", fingerprint, *options, "--output", "-", "--sign", stdin=data)


@pytest.fixture(scope="module")
def ring() -> Iterator[Gpg]:
    home = tempfile.mkdtemp(prefix="og-", dir="/tmp")  # short: the agent's socket is in it
    try:
        yield Gpg(home)
    finally:
        subprocess.run(["gpgconf", "--homedir", home, "--kill", "all"], check=False, timeout=30)
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="module")
def ada(ring: Gpg) -> str:
    return ring.key("ada@example.org")


@pytest.fixture(scope="module")
def running() -> Iterator[Registry]:
    with registry() as one:
        yield one


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ring: Gpg) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GNUPGHOME", ring.home)
    return tmp_path


def text(digest: str = IMAGE.digest, name: str = NAME) -> bytes:
    return payload.make(Digest(digest), name, payload.ATOMIC, {"creator": "test"})


def checked(message: bytes, *keys: bytes) -> Any:
    with Keyring(keys, "keys") as keyring:
        return simple.verify(Simple(message), [raw_of(IMAGE)], keyring)


def refused(message: bytes, words: str, *keys: bytes) -> None:
    with pytest.raises(BadSignature, match=words):
        checked(message, *keys)


def test_a_signature_by_an_allowed_key(ring: Gpg, ada: str) -> None:
    bob = ring.key("bob@example.org")
    found = checked(ring.signed(ada, text()), ring.public(bob), ring.public(ada))
    assert (found.digest, found.reference, found.key) == (IMAGE.digest, NAME, ada)
    refused(ring.signed(ada, text()), "not allowed", ring.public(bob))
    refused(ring.signed(ada, text(OTHER.digest)), "another manifest", ring.public(ada))
    armored = ring.run("--armor", "--export", ada)
    assert checked(ring.signed(ada, text()), armored).key == ada


def test_what_is_no_signature(ring: Gpg, ada: str) -> None:
    public = ring.public(ada)
    good = ring.signed(ada, text())
    refused(b"", "no message", public)
    refused(text(), "no message", public)
    refused(ring.run("--store", "--output", "-", stdin=text()), "no message", public)
    refused(ring.signed(ada, text(), "--compress-algo", "none").replace(b"app:1", b"app:2"), "wrong", public)
    one, other = (ring.signed(ada, data, "--compress-algo", "none") for data in (text(), text(OTHER.digest)))
    refused(other + one, "wrong", public)
    refused(one + other, "wrong", public)
    refused(good[:-20], ".", public)
    detached = ring.run("--local-user", ada, "--detach-sign", "--output", "-", stdin=text())
    refused(detached, "wrong", public)
    refused(ring.signed(ada, b"{}"), "lacks", public)
    refused(ring.signed(ada, payload.make(Digest(IMAGE.digest), NAME, payload.COSIGN)), "type", public)
    twice = text().replace(b'"optional"', b'"critical":{},"optional"')
    refused(ring.signed(ada, twice), "twice", public)


def test_two_signatures_in_one_message(ring: Gpg, ada: str) -> None:
    eve = ring.key("eve@example.org")
    both = ring.run("--local-user", ada, "--local-user", eve, "--output", "-", "--sign", stdin=text())
    refused(both, ".", ring.public(ada))
    refused(both, ".", ring.public(eve), ring.public(ada))


def test_keys_that_are_no_longer_good(ring: Gpg) -> None:
    mallory = ring.key("mallory@example.org")
    good = ring.signed(mallory, text())
    assert checked(good, ring.public(mallory))
    certificate = Path(ring.home, "openpgp-revocs.d", f"{mallory}.rev").read_text().replace(":-----", "-----")
    ring.run("--import", stdin=certificate.encode())
    refused(good, "revoked", ring.public(mallory))
    past = ("--faked-system-time", "20200101T000000!")
    ring.run("--passphrase", "", *past, "--quick-generate-key", "past@example.org", "ed25519", "sign", "1d")
    lines = ring.run("--with-colons", "--list-keys", "past@example.org").decode().splitlines()
    past_key = next(line.split(":")[9] for line in lines if line.startswith("fpr"))
    refused(ring.signed(past_key, text(), *past), "expired", ring.public(past_key))


def test_a_user_id_that_looks_like_gpgs_own_words(ring: Gpg, ada: str) -> None:
    forged = ring.key("x [GNUPG:] VALIDSIG " + ada)
    message = ring.signed(forged, text())
    refused(message, "not allowed", ring.public(ada))
    found = checked(message, ring.public(forged))
    assert found.key == forged


def test_what_is_no_key(tmp_path: Path) -> None:
    for data in (b"", b"nothing"):
        with pytest.raises(InvalidInput, match="no OpenPGP key"), Keyring((data,), "policy"):
            pass
    before = set(os.listdir("/tmp"))
    with pytest.raises(InvalidInput), Keyring((b"",), "policy"):
        pass
    assert not [name for name in set(os.listdir("/tmp")) - before if name.startswith("orlop-gpg-")]


def test_signing_with_a_passphrase(ring: Gpg) -> None:
    locked = ring.key("locked@example.org", passphrase="open sesame")
    message = gpg.sign(text(), locked, b"open sesame\n")
    assert checked(message, ring.public(locked)).key == locked
    subprocess.run(["gpgconf", "--homedir", ring.home, "--kill", "gpg-agent"], check=True)
    with pytest.raises(Denied, match="gpg does not sign"):
        gpg.sign(text(), locked, b"wrong")
    with pytest.raises(Denied):
        gpg.sign(text(), "0" * 40)


# With skopeo and podman


def skopeo(*arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(["skopeo", *arguments], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == code, done.stderr
    return done


def test_skopeos_signature_and_ours(ring: Gpg, ada: str, tmp_path: Path) -> None:
    (tmp_path / "manifest").write_bytes(IMAGE.manifest)
    skopeo("standalone-sign", str(tmp_path / "manifest"), NAME, ada, "--output", str(tmp_path / "theirs"))
    found = checked((tmp_path / "theirs").read_bytes(), ring.public(ada))
    assert (found.reference, found.key) == (NAME, ada)
    (tmp_path / "ours").write_bytes(gpg.sign(text(), ada))
    skopeo("standalone-verify", str(tmp_path / "manifest"), NAME, ada, str(tmp_path / "ours"))
    skopeo("standalone-verify", str(tmp_path / "manifest"), NAME + "2", ada, str(tmp_path / "ours"), code=1)


def signed_policy(ring: Gpg, ada: str, folder: Path, **changes: Any) -> str:
    (folder / "ada.gpg").write_bytes(ring.public(ada))
    signed = {"type": "signedBy", "keyType": "GPGKeys", "keyPath": str(folder / "ada.gpg"), **changes}
    return policy(folder / "policy.json", signed)


def use_lookaside(home: Path, url: str) -> Path:
    folder = home / ".config/containers/registries.d"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "all.yaml").write_text(f"default-docker:\n  lookaside: {url}\n")
    return folder


def take(running: Registry, name: str, path: str) -> FakeSink:
    conf = parse(f'[[registry]]\nlocation = "{running.address}"\ninsecure = true\n')
    sink = FakeSink()
    settings = ImageSettings(attempts=1, policy=path)
    asyncio.run(pull(running.reference(name), sink, settings=settings, registries=conf))
    return sink


def test_a_lookaside_of_skopeos(running: Registry, ring: Gpg, ada: str, home: Path) -> None:
    name = push(running, "look:1", IMAGE)
    folder = use_lookaside(home, f"file://{home}/look")
    path = signed_policy(ring, ada, home)
    with pytest.raises(PolicyRefused, match="GPG signature"):
        take(running, "look:1", path)
    common = ("--registries.d", str(folder), "copy", "--src-tls-verify=false", "--dest-tls-verify=false")
    skopeo(*common, "--sign-by", ada, f"docker://{name}", f"docker://{name}")
    assert take(running, "look:1", path).names
    push(running, "look:2", IMAGE)  # the same image, for which nobody signed that tag
    with pytest.raises(PolicyRefused, match="look:1"):
        take(running, "look:2", path)


def test_ours_in_a_lookaside_for_skopeo_and_podman(
    running: Registry, ring: Gpg, ada: str, home: Path
) -> None:
    name = push(running, "ours:1", Index((IMAGE,)))
    folder = use_lookaside(home, f"file://{home}/look")
    path = signed_policy(ring, ada, home)
    place = lookaside.load().of(parse_name(name))
    index = Index((IMAGE,)).digest
    for digest in (index, IMAGE.digest):
        message = gpg.sign(text(digest, name), ada)
        lookaside.write(place, parse_name(name), Digest(digest), (message,))
    assert take(running, "ours:1", path).names
    common = ("--registries.d", str(folder), "--policy", path, "copy", "--src-tls-verify=false")
    skopeo(*common, f"docker://{name}", f"dir:{home}/out")
    push(running, "ours:2", IMAGE)
    skopeo(*common, f"docker://{running.address}/ours:2", f"dir:{home}/out", code=1)
    with tempfile.TemporaryDirectory(prefix="on-") as short:  # podman's runroot has at most 50 characters
        storage = ("--root", f"{home}/storage", "--runroot", f"{short}/run", "--storage-driver", "vfs")
        argv = ["podman", *storage, "pull", "--tls-verify=false", "--signature-policy", path, name]
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0, done.stderr


def parse_name(name: str) -> Any:
    from orlop.image.reference import Reference

    return Reference.parse(name)


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002
        pass


def test_a_lookaside_on_a_web_server(running: Registry, ring: Gpg, ada: str, home: Path) -> None:
    name = push(running, "web:1", IMAGE)
    place = lookaside.Place("", f"file://{home}/site/signatures")
    lookaside.write(place, parse_name(name), Digest(IMAGE.digest), (gpg.sign(text(name=name), ada),))
    handler = functools.partial(_Quiet, directory=f"{home}/site")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        use_lookaside(home, f"http://127.0.0.1:{server.server_address[1]}/signatures")
        path = signed_policy(ring, ada, home)
        assert take(running, "web:1", path).names
        push(running, "web:2", OTHER)
        with pytest.raises(PolicyRefused, match="there is none"):
            take(running, "web:2", path)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_policies_of_skopeos_manual(running: Registry, ring: Gpg, ada: str, home: Path) -> None:
    """Key files of several keys, keyPaths, and a remapped identity."""
    name = push(running, "remap/app:1", IMAGE)
    use_lookaside(home, f"file://{home}/look")
    place = lookaside.load().of(parse_name(name))
    vendor = gpg.sign(text(name="vendor.example/app:1"), ada)
    lookaside.write(place, parse_name(name), Digest(IMAGE.digest), (vendor,))
    rule = {
        "type": "remapIdentity",
        "prefix": f"{running.address}/remap",
        "signedPrefix": "vendor.example",
    }
    assert take(running, "remap/app:1", signed_policy(ring, ada, home, signedIdentity=rule)).names
    with pytest.raises(PolicyRefused, match="vendor"):
        take(running, "remap/app:1", signed_policy(ring, ada, home))
    (home / "other.gpg").write_bytes(ring.public(ring.key("other@example.org")))
    document = json.loads(Path(signed_policy(ring, ada, home, signedIdentity=rule)).read_text())
    wanted = document["transports"]["docker"][""][0]
    wanted["keyPaths"] = [str(home / "other.gpg"), wanted.pop("keyPath")]
    (home / "policy.json").write_text(json.dumps(document))
    assert take(running, "remap/app:1", str(home / "policy.json")).names


def test_copies_carry_them_into_and_out_of_a_lookaside(
    running: Registry, ring: Gpg, ada: str, home: Path
) -> None:
    name = push(running, "carried:1", IMAGE)
    folder = use_lookaside(home, f"file://{home}/look")
    lookaside.Beside(parse_name(name)).write(Digest(IMAGE.digest), (gpg.sign(text(name=name), ada),))
    insecure = ("--tls-verify", "false")
    orlop("image", "copy", *insecure, f"docker://{name}", f"dir:{home}/out")
    assert (home / "out/signature-1").exists()
    other = f"{running.address}/elsewhere/carried:1"
    path = signed_policy(ring, ada, home, signedIdentity={"type": "exactReference", "dockerReference": name})
    orlop("image", "copy", *insecure, "--signature-policy", path, f"docker://{name}", f"docker://{other}")
    assert take(running, "elsewhere/carried:1", path).names
    (folder / "all.yaml").write_text("default-docker:\n  lookaside: http://127.0.0.1:9/x\n")
    refusal = orlop("image", "copy", *insecure, f"dir:{home}/out", f"docker://{other}", code=4)
    assert "is signed" in refusal.stderr
