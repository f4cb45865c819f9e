"""Private keys, registries.d, and the form in which signatures are kept."""

from __future__ import annotations

import base64
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa

from orlop.image.digest import Digest
from orlop.image.reference import Reference
from orlop.image.signature import keys, lookaside, model, private_key
from orlop.image.signature.keys import PrivateKey
from orlop.image.signature.model import Attached, BadSignature, Bundle, Simple
from orlop.kit.errors import Denied, InvalidInput, Unsupported
from tests.image.signing import private_pem, public_pem

DIGEST = Digest("sha256:" + "1" * 64)
APP = Reference.parse("r.example:5000/team/app:1")


@pytest.mark.parametrize(
    "key",
    [ec.generate_private_key(ec.SECP256R1()), ed25519.Ed25519PrivateKey.generate()],
    ids=["ecdsa", "ed25519"],
)
def test_keys_in_cosigns_form(key: PrivateKey) -> None:
    data = private_key.encrypted(key, b"secret")
    assert private_key.is_encrypted(data)
    assert public_pem(private_key.load(data, b"secret", "key")) == public_pem(key)
    with pytest.raises(Denied, match="password"):
        private_key.load(data, b"wrong", "key")
    older = data.replace(b"SIGSTORE", b"COSIGN")
    assert private_key.load(older, b"secret", "key")


def test_plain_and_openssls_encrypted_keys() -> None:
    key = ec.generate_private_key(ec.SECP384R1())
    assert private_key.load(private_pem(key), b"", "key")
    locked = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )
    assert private_key.load(locked, b"secret", "key")
    with pytest.raises(Denied):
        private_key.load(locked, b"wrong", "key")


def _document(data: bytes) -> Any:
    return json.loads(base64.b64decode(b"".join(data.splitlines()[1:-1])))


def _written(document: Any) -> bytes:
    kind = "ENCRYPTED SIGSTORE PRIVATE KEY"
    body = base64.b64encode(json.dumps(document).encode()).decode()
    return f"-----BEGIN {kind}-----\n{body}\n-----END {kind}-----\n".encode()


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("kdf", "name"), "pbkdf2"),
        (("kdf", "params", "N"), 1 << 40),
        (("kdf", "params", "p"), 1 << 20),
        (("kdf", "params", "N"), 12345),
        (("kdf", "params", "r"), 0),
        (("kdf", "params", "N"), "65536"),
        (("kdf", "salt"), "!"),
        (("cipher", "name"), "none"),
        (("cipher", "nonce"), "AAAA"),
        (("ciphertext",), ""),
    ],
)
def test_malformed_keys_are_refused_and_cost_nothing(path: tuple[str, ...], value: object) -> None:
    document = _document(private_key.encrypted(ec.generate_private_key(ec.SECP256R1()), b"x"))
    inner = document
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    with pytest.raises((InvalidInput, Denied)):
        private_key.load(_written(document), b"x", "key")


def test_keys_of_other_kinds() -> None:
    small = rsa.generate_private_key(65537, 1024)
    other = ec.generate_private_key(ec.SECP224R1())
    old = ed448.Ed448PrivateKey.generate()
    public: tuple[PrivateKey | ed448.Ed448PrivateKey, ...] = (small, other, old)
    for key in public:
        pem = key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        with pytest.raises(InvalidInput):
            keys.public_keys(pem, "key")
    for data in (b"", b"nothing", private_pem(ed25519.Ed25519PrivateKey.generate())):
        with pytest.raises(InvalidInput):
            keys.public_keys(data, "key")


def test_signatures_are_kept_as_folders_have_them() -> None:
    for signature in (Simple(b"\x90openpgp"), Attached(b"p\0", {"a": "b"}), Bundle(b'{"a": 1}')):
        assert model.unpacked(model.packed(signature)) == signature
        assert model.of_document(model.document(signature)) == signature
    for data in (b"\0other\n{}", b"\0sigstore-json\n[]", b'\0sigstore-json\n{"mimeType": 1}'):
        with pytest.raises(BadSignature):
            model.unpacked(data)


# registries.d


def write(folder: Path, **files: str) -> str:
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text)
    return str(folder)


def test_the_most_specific_namespace_has_the_lookaside(tmp_path: Path) -> None:
    folder = write(
        tmp_path,
        a="default-docker:\n  sigstore: https://all.example/s\n  sigstore-staging: file:///staging\n",
        b="docker:\n  r.example:5000:\n    lookaside: file:///host\n"
        "  r.example:5000/team:\n    lookaside: file:///team\n"
        "  r.example:5000/team/app:\n    use-sigstore-attachments: false\n",
    )
    (tmp_path / "ignored.txt").write_text("{")
    found = lookaside.load(folder)
    place = found.of(APP)
    assert (place.read, place.write, place.attachments) == ("file:///team", "file:///team", False)
    other = found.of(Reference.parse("other.example/x"))
    assert (other.read, other.write) == ("https://all.example/s", "file:///staging")
    assert other.attachments is None


def test_without_files_the_usual_folder_is_meant(tmp_path: Path) -> None:
    place = lookaside.load(str(tmp_path / "absent")).of(APP)
    assert place.read.startswith("file:///")


@pytest.mark.parametrize(
    "text",
    [
        "docker: []",
        "dockers: {}",
        "docker:\n  a: {lookasides: x}",
        "docker:\n  a: {lookaside: 1}",
        "docker:\n  a: {use-sigstore-attachments: maybe}",
        "docker:\n  a: {}\n  a: {}",
        "docker: {a: {lookaside: [",
        "!!python/object/apply:os.system [true]",
    ],
)
def test_malformed_files_of_registries_d(text: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput):
        lookaside.load(write(tmp_path, a=text))


def test_a_namespace_in_two_files(tmp_path: Path) -> None:
    text = "docker:\n  a.example: {lookaside: file:///a}\n"
    with pytest.raises(InvalidInput, match="another file"):
        lookaside.load(write(tmp_path, a=text, b=text))
    text = "default-docker: {lookaside: file:///a}\n"
    with pytest.raises(InvalidInput, match="another file"):
        lookaside.load(write(tmp_path, a=text, b=text))


def test_signatures_in_a_folder(tmp_path: Path) -> None:
    place = lookaside.Place(f"file://{tmp_path}/with space", f"file://{tmp_path}/with space")
    assert lookaside.read(place, APP, DIGEST) == ()
    lookaside.write(place, APP, DIGEST, (b"one",))
    where = lookaside.write(place, APP, DIGEST, (b"two", b"one"))
    assert where == f"{tmp_path}/with space/team/app@sha256={'1' * 64}"
    assert lookaside.read(place, APP, DIGEST) == (b"one", b"two")
    assert sorted(path.name for path in Path(where).iterdir()) == ["signature-1", "signature-2"]


def test_what_is_no_lookaside(tmp_path: Path) -> None:
    for url in ("ftp://x/y", "/folder", "https:///path"):
        with pytest.raises(InvalidInput):
            lookaside.read(lookaside.Place(url), APP, DIGEST)
    with pytest.raises(Unsupported, match="written"):
        lookaside.write(lookaside.Place("https://x/y", "https://x/y"), APP, DIGEST, (b"x",))


def test_the_old_openssl_reads_what_we_generate(tmp_path: Path) -> None:
    secret, public = private_key.generate(b"pw")
    (tmp_path / "pub.pem").write_bytes(public)
    done = subprocess.run(
        ["openssl", "pkey", "-pubin", "-in", str(tmp_path / "pub.pem"), "-noout", "-text"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "P-256" in done.stdout
    assert secret.startswith(b"-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\n")
