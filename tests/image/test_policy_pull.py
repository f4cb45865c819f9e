"""The policy at the pull: nothing that it refuses is named in the store, whatever a registry serves."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from orlop.image.fake_sink import FakeSink
from orlop.image.policy.errors import PolicyRefused
from orlop.image.pull import Pulled, pull
from orlop.image.registries.load import parse
from orlop.image.registries.model import RegistriesConf
from orlop.image.settings import ImageSettings
from orlop.image.signature.model import Attached
from orlop.kit import limits
from orlop.kit.errors import InvalidInput, LimitExceeded, NotFound, OrlopError
from tests.image.signing import EMAIL, ISSUER, Sigstore, attach, b64, keyed, policy, public_pem
from tests.support.images import Image, Index, Layer, descriptor, push, tar
from tests.support.registry import Registry, registry

pytestmark = pytest.mark.host
KEY = ec.generate_private_key(ec.SECP256R1())
STRANGER = ec.generate_private_key(ec.SECP256R1())
IMAGE = Image((Layer(tar({"a": b"a"})),))
OTHER = Image((Layer(tar({"b": b"b"})),))
ARM = Image((Layer(tar({"c": b"c"})),), architecture="arm64")
SIGNED = {"type": "sigstoreSigned", "keyData": b64(public_pem(KEY))}
BY_REPOSITORY = {**SIGNED, "signedIdentity": {"type": "matchRepository"}}


@pytest.fixture(scope="module")
def running() -> Iterator[Registry]:
    with registry() as one:
        yield one


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def insecure(running: Registry, text: str = "") -> RegistriesConf:
    return parse(f'[[registry]]\nlocation = "{running.address}"\ninsecure = true\n{text}')


def run(running: Registry, name: str, path: str, sink: FakeSink | None = None, **options: Any) -> Pulled:
    settings = ImageSettings(attempts=2, backoff=0.01, policy=path)
    options.setdefault("registries", insecure(running))
    return asyncio.run(pull(running.reference(name), sink or FakeSink(), settings=settings, **options))


def refused(running: Registry, name: str, path: str, words: str, **options: Any) -> None:
    sink = FakeSink()
    with pytest.raises(PolicyRefused, match=words):
        run(running, name, path, sink, **options)
    assert not sink.names
    assert not sink.layers


def test_a_signed_image_and_its_evidence_are_kept(running: Registry, tmp_path: Path) -> None:
    name = push(running, "kept:1", IMAGE)
    attach(
        running, "kept", IMAGE.digest, [keyed(STRANGER, IMAGE.digest, name), keyed(KEY, IMAGE.digest, name)]
    )
    sink = FakeSink()
    done = run(running, "kept:1", policy(tmp_path / "p", SIGNED), sink)
    kinds = sorted(document.kind for document in sink.images[done.id].documents)
    assert kinds == ["manifest", "reference", "sigstore", "sigstore"]


def test_rejected_images_are_not_even_asked_for(running: Registry, tmp_path: Path) -> None:
    path = tmp_path / "p"
    path.write_text(json.dumps({"default": [{"type": "reject"}]}))
    before = running.requests("GET /v2/never")
    refused(running, "never:1", str(path), "rejects")
    assert running.requests("GET /v2/never") == before


def test_unsigned_and_strangers_images(running: Registry, tmp_path: Path) -> None:
    name = push(running, "bare:1", IMAGE)
    path = policy(tmp_path / "p", SIGNED)
    refused(running, "bare:1", path, "there is none")
    attach(running, "bare", IMAGE.digest, [keyed(STRANGER, IMAGE.digest, name)])
    refused(running, "bare:1", path, "not by a key that is trusted")


def test_a_tag_that_was_moved_to_another_signed_image(running: Registry, tmp_path: Path) -> None:
    name = push(running, "moved:1", IMAGE)
    attach(running, "moved", IMAGE.digest, [keyed(KEY, IMAGE.digest, running.reference("moved:2"))])
    refused(running, "moved:1", policy(tmp_path / "p", SIGNED), "is for '.*moved:2'")
    assert run(running, "moved:1", policy(tmp_path / "q", BY_REPOSITORY)).name == name


def test_a_signature_of_another_image_under_this_ones_tag(running: Registry, tmp_path: Path) -> None:
    name = push(running, "swapped:1", IMAGE)
    attach(running, "swapped", IMAGE.digest, [keyed(KEY, OTHER.digest, name)])
    refused(running, "swapped:1", policy(tmp_path / "p", SIGNED), "another manifest")


@pytest.mark.parametrize("claimed", ["names-evil:1", "names/evil:1", "name:1"])
def test_names_that_merely_begin_alike(claimed: str, running: Registry, tmp_path: Path) -> None:
    push(running, "names:1", IMAGE)
    attach(running, "names", IMAGE.digest, [keyed(KEY, IMAGE.digest, running.reference(claimed))])
    refused(running, "names:1", policy(tmp_path / "p", BY_REPOSITORY), "not good for this image")


def test_every_requirement_must_hold(running: Registry, tmp_path: Path) -> None:
    name = push(running, "both:1", IMAGE)
    second = {**SIGNED, "keyData": b64(public_pem(STRANGER))}
    path = policy(tmp_path / "p", [SIGNED, {"type": "insecureAcceptAnything"}, second])
    attach(running, "both", IMAGE.digest, [keyed(KEY, IMAGE.digest, name)])
    refused(running, "both:1", path, "not by a key")
    both = [keyed(STRANGER, IMAGE.digest, name), keyed(KEY, IMAGE.digest, name)]
    attach(running, "both", IMAGE.digest, both)
    assert run(running, "both:1", path)
    refused(running, "both:1", policy(tmp_path / "q", [SIGNED, {"type": "reject"}]), "rejects")


# Indexes


def test_a_signed_index_counts_for_what_is_below_it(running: Registry, tmp_path: Path) -> None:
    index = Index((ARM, IMAGE))
    name = push(running, "index:1", index)
    attach(running, "index", index.digest, [keyed(KEY, index.digest, name)])
    path = policy(tmp_path / "p", SIGNED)
    sink = FakeSink()
    assert run(running, "index:1", path, sink, platform="linux/amd64").digest == IMAGE.digest
    assert run(running, "index:1", path, sink, platform="linux/arm64").digest == ARM.digest
    # By its own digest nothing leads to the index: the image itself is not signed.
    refused(running, f"index@{IMAGE.digest}", path, "there is none")


def test_an_image_that_is_signed_below_an_index_that_is_not(running: Registry, tmp_path: Path) -> None:
    index = Index((ARM, IMAGE))
    name = push(running, "below:1", index)
    attach(running, "below", IMAGE.digest, [keyed(KEY, IMAGE.digest, name)])
    path = policy(tmp_path / "p", SIGNED)
    assert run(running, "below:1", path, platform="linux/amd64").digest == IMAGE.digest
    refused(running, "below:1", path, "there is none", platform="linux/arm64")


def test_an_index_around_a_signed_index_is_another_one(running: Registry, tmp_path: Path) -> None:
    good, evil = Index((IMAGE,)), Index((OTHER,))
    name = push(running, "around:1", evil)
    push(running, "around:good", good)
    attach(running, "around", evil.digest, [keyed(KEY, good.digest, name)])
    refused(running, "around:1", policy(tmp_path / "p", SIGNED), "another manifest")


# Where signatures are, and what else is there


def test_signatures_that_refer_to_the_image(running: Registry, tmp_path: Path) -> None:
    name = push(running, "refers:1", IMAGE)
    subject = descriptor(IMAGE.media_type, IMAGE.manifest)
    attach(running, "refers", IMAGE.digest, [keyed(KEY, IMAGE.digest, name)], subject=subject)
    assert run(running, "refers:1", policy(tmp_path / "p", SIGNED))


def test_bundles_that_refer_to_the_image(running: Registry, tmp_path: Path) -> None:
    push(running, "bundled:1", IMAGE)
    sigstore = Sigstore()
    files = sigstore.files(tmp_path)
    subject = descriptor(IMAGE.media_type, IMAGE.manifest)
    attach(running, "bundled", IMAGE.digest, [sigstore.statement_bundle(IMAGE.digest)], subject=subject)
    (tmp_path / "ca.pem").write_text(
        Path(files["root"]).read_text() + Path(files["intermediate"]).read_text()
    )
    fulcio = {"caPath": str(tmp_path / "ca.pem"), "oidcIssuer": ISSUER, "subjectEmail": EMAIL}
    wanted = {"type": "sigstoreSigned", "fulcio": fulcio, "rekorPublicKeyPath": files["rekor"]}
    anything = {**wanted, "signedIdentity": {"type": "matchDigest"}}
    assert run(running, "bundled:1", policy(tmp_path / "p", anything))
    refused(running, "bundled:1", policy(tmp_path / "q", wanted), "names no image")


def test_a_keyless_signature(running: Registry, tmp_path: Path) -> None:
    name = push(running, "keyless:1", IMAGE)
    sigstore = Sigstore()
    files = sigstore.files(tmp_path)
    attach(running, "keyless", IMAGE.digest, [sigstore.attached(IMAGE.digest, name)])
    fulcio = {"caPath": files["root"], "oidcIssuer": ISSUER, "subjectEmail": EMAIL}
    wanted = {"type": "sigstoreSigned", "fulcio": fulcio, "rekorPublicKeyPath": files["rekor"]}
    assert run(running, "keyless:1", policy(tmp_path / "p", wanted))
    other = {**wanted, "fulcio": {**fulcio, "subjectEmail": "eve@example.org"}}
    refused(running, "keyless:1", policy(tmp_path / "q", other), "not of eve")
    pki = {"caRootsPath": files["root"], "subjectEmail": EMAIL}
    refused(
        running, "keyless:1", policy(tmp_path / "r", {"type": "sigstoreSigned", "pki": pki}), "not valid at"
    )


@pytest.mark.parametrize("kind", ["image", "index", "empty"])
def test_cosigns_tag_on_something_else(kind: str, running: Registry, tmp_path: Path) -> None:
    push(running, f"odd-{kind}:1", IMAGE)
    tag = IMAGE.digest.replace(":", "-") + ".sig"
    if kind == "empty":
        attach(running, f"odd-{kind}", IMAGE.digest, [])
    else:
        push(running, f"odd-{kind}:{tag}", IMAGE if kind == "image" else Index((IMAGE,)))
    refused(running, f"odd-{kind}:1", policy(tmp_path / "p", SIGNED), "sigstore signature")


def test_signatures_beyond_bounds(running: Registry, tmp_path: Path) -> None:
    name = push(running, "bounds:1", IMAGE)
    path = policy(tmp_path / "p", SIGNED)
    good = keyed(KEY, IMAGE.digest, name)
    large = Attached(b" " * (limits.SIGNATURE_SIZE + 1), good.annotations)
    attach(running, "bounds", IMAGE.digest, [large])
    refused(running, "bounds:1", path, "longer than")
    many = [Attached(good.payload + b" " * n, good.annotations) for n in range(limits.SIGNATURES + 1)]
    attach(running, "bounds", IMAGE.digest, many)
    with pytest.raises(LimitExceeded, match="signatures"):
        run(running, "bounds:1", path)
    attach(running, "bounds", IMAGE.digest, [*many[1:60], good])
    assert run(running, "bounds:1", path)


def test_a_payload_whose_bytes_are_wrong(running: Registry, tmp_path: Path) -> None:
    name = push(running, "lost:1", IMAGE)
    attach(running, "lost", IMAGE.digest, [keyed(KEY, IMAGE.digest, name)])
    payload = keyed(KEY, IMAGE.digest, name).payload
    for blob in (running.folder / "storage").rglob("data"):
        if blob.read_bytes() == payload:
            blob.write_bytes(payload[:-1] + b" ")
    with pytest.raises(OrlopError):
        run(running, "lost:1", policy(tmp_path / "p", SIGNED))


def test_registries_d_can_say_that_there_are_no_attachments(running: Registry, home: Path) -> None:
    name = push(running, "without:1", IMAGE)
    attach(running, "without", IMAGE.digest, [keyed(KEY, IMAGE.digest, name)])
    folder = home / ".config/containers/registries.d"
    folder.mkdir(parents=True)
    (folder / "a.yaml").write_text("default-docker: {use-sigstore-attachments: false}\n")
    refused(running, "without:1", policy(home / "p", SIGNED), "there is none")


# Names, mirrors, candidates


def test_the_name_is_the_one_that_was_asked_for_not_the_mirrors(running: Registry, tmp_path: Path) -> None:
    push(running, "mirror/app:1", IMAGE)
    conf = parse(
        '[[registry]]\nlocation = "vendor.invalid"\n[[registry.mirror]]\n'
        f'location = "{running.address}/mirror"\ninsecure = true\n'
    )
    settings = ImageSettings(attempts=1, policy=policy(tmp_path / "p", SIGNED))

    def ask(name: str) -> Pulled:
        return asyncio.run(pull(name, FakeSink(), settings=settings, registries=conf))

    mine = keyed(KEY, IMAGE.digest, running.reference("mirror/app:1"))
    attach(running, "mirror/app", IMAGE.digest, [mine])
    with pytest.raises(PolicyRefused, match="mirror/app"):
        ask("vendor.invalid/app:1")
    attach(running, "mirror/app", IMAGE.digest, [keyed(KEY, IMAGE.digest, "vendor.invalid/app:1")])
    assert ask("vendor.invalid/app:1").name == "vendor.invalid/app:1"


def test_a_short_name_is_refused_as_such(running: Registry, tmp_path: Path) -> None:
    push(running, "short:1", IMAGE)
    conf = parse(
        f'unqualified-search-registries = ["{running.address}"]\nshort-name-mode = "disabled"\n'
        f'[[registry]]\nlocation = "{running.address}"\ninsecure = true\n'
    )
    settings = ImageSettings(attempts=1, policy=policy(tmp_path / "p", SIGNED))
    with pytest.raises(PolicyRefused):
        asyncio.run(pull("short:1", FakeSink(), settings=settings, registries=conf))


@pytest.mark.parametrize("how", ["always", "newer"])
def test_what_is_here_is_no_answer_to_a_refusal(how: str, running: Registry, tmp_path: Path) -> None:
    push(running, "here:1", IMAGE)
    sink = FakeSink()
    run(running, "here:1", "", sink)
    with pytest.raises(PolicyRefused):
        run(running, "here:1", policy(tmp_path / "p", SIGNED), sink, policy=how)


def test_a_newer_pull_of_what_is_here_brings_its_signatures(running: Registry, tmp_path: Path) -> None:
    name = push(running, "later:1", IMAGE)
    sink = FakeSink()
    run(running, "later:1", "", sink)
    attach(running, "later", IMAGE.digest, [keyed(KEY, IMAGE.digest, name)])
    done = run(running, "later:1", policy(tmp_path / "p", SIGNED), sink, policy="newer")
    assert any(document.kind == "sigstore" for document in sink.images[done.id].documents)


def test_policies_and_keys_that_cannot_be_read_refuse(running: Registry, tmp_path: Path) -> None:
    name = push(running, "keys:1", IMAGE)
    attach(running, "keys", IMAGE.digest, [keyed(KEY, IMAGE.digest, name)])
    absent = {"type": "sigstoreSigned", "keyPath": str(tmp_path / "absent.pub")}
    for path in (policy(tmp_path / "p", absent), str(tmp_path / "absent.json")):
        with pytest.raises(InvalidInput, match="absent"):
            run(running, "keys:1", path)
    (tmp_path / "broken").write_text("{")
    with pytest.raises(InvalidInput):
        run(running, "keys:1", str(tmp_path / "broken"))


def test_without_a_policy_no_signature_is_asked_for(running: Registry, tmp_path: Path) -> None:
    push(running, "quiet:1", IMAGE)
    path = tmp_path / "p"
    path.write_text(json.dumps({"default": [{"type": "insecureAcceptAnything"}]}))
    before = running.log.count(".sig")
    run(running, "quiet:1", str(path))
    assert running.log.count(".sig") == before


def test_a_pull_beside_one_that_signs_sees_either(running: Registry, tmp_path: Path) -> None:
    """An attachment that is replaced meanwhile is the old or the new one, never a half."""
    name = push(running, "race:1", IMAGE)
    path = policy(tmp_path / "p", SIGNED)
    good = keyed(KEY, IMAGE.digest, name)
    attach(running, "race", IMAGE.digest, [good])
    stop = threading.Event()

    def sign() -> None:
        count = 0
        while not stop.is_set():
            count += 1
            attach(running, "race", IMAGE.digest, [good] * (1 + count % 3))

    thread = threading.Thread(target=sign)
    thread.start()
    try:
        for _ in range(5):
            assert run(running, "race:1", path)
    finally:
        stop.set()
        thread.join()


def test_an_image_that_is_not_there_is_not_there(running: Registry, tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        run(running, "nothing:1", policy(tmp_path / "p", SIGNED))
