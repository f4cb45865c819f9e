"""A sigstore of a test's own: an authority, a log and signers; and images with what is attached to them."""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from orlop.image.digest import Digest
from orlop.image.signature import keys, payload
from orlop.image.signature.keys import PrivateKey
from orlop.image.signature.model import CERTIFICATE, CHAIN, LOG, SIGNATURE, Attached, Bundle
from orlop.image.transport.source import RawManifest
from tests.support.images import Image, Pusher, descriptor, digest
from tests.support.registry import Registry

EMAIL = "ada@example.org"
ISSUER = "https://login.example.org"
OCI = "application/vnd.oci.image.manifest.v1+json"
PAYLOAD = "application/vnd.dev.cosign.simplesigning.v1+json"
BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
ARTIFACT = "application/vnd.dev.cosign.artifact.sig.v1+json"
NOW = dt.datetime.now(dt.UTC).replace(microsecond=0)
_V1 = x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.1")
_V2 = x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.8")


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def private_pem(key: PrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def public_pem(key: PrivateKey) -> bytes:
    return key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def raw_of(image: Image) -> RawManifest:
    return RawManifest(image.manifest, image.media_type, Digest(image.digest))


class Authority:
    """A certificate and its key; `issue` makes another below it."""

    def __init__(self, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
        self.certificate = certificate
        self.key = key

    @classmethod
    def root(cls, name: str = "root", **changes: Any) -> Authority:
        return _issue(None, name, ca=True, **changes)

    def authority(self, name: str, **changes: Any) -> Authority:
        return _issue(self, name, ca=True, **changes)

    def signer(self, *, email: str = EMAIL, issuer: str | None = ISSUER, **changes: Any) -> Authority:
        """A signer's certificate, valid for ten minutes an hour ago, as Fulcio's are."""
        changes.setdefault("names", [x509.RFC822Name(email)])
        changes.setdefault("start", NOW - dt.timedelta(hours=1))
        changes.setdefault("end", NOW - dt.timedelta(minutes=50))
        changes.setdefault("purposes", [ExtendedKeyUsageOID.CODE_SIGNING])
        extra = list(changes.pop("extra", ()))
        if issuer is not None:
            text = issuer.encode()
            extra.append(x509.UnrecognizedExtension(_V1, text))
            extra.append(x509.UnrecognizedExtension(_V2, bytes((0x0C, len(text))) + text))
        return _issue(self, "", ca=False, extra=extra, **changes)


def _issue(
    above: Authority | None,
    name: str,
    *,
    ca: bool,
    names: Iterable[x509.GeneralName] = (),
    start: dt.datetime = NOW - dt.timedelta(days=30),
    end: dt.datetime = NOW + dt.timedelta(days=30),
    purposes: Iterable[x509.ObjectIdentifier] = (),
    extra: Iterable[x509.ExtensionType] = (),
    critical: Iterable[x509.ExtensionType] = (),
    path_length: int | None = None,
    key: ec.EllipticCurvePrivateKey | None = None,
) -> Authority:
    key = key or ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)] if name else [])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(above.certificate.subject if above else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=path_length if ca else None), critical=True)
        .add_extension(_usage(ca=ca), critical=True)
    )
    purposes, names = list(purposes), list(names)
    if purposes:
        builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=True)
    for extension in extra:
        builder = builder.add_extension(extension, critical=False)
    for extension in critical:
        builder = builder.add_extension(extension, critical=True)
    signer = above.key if above else key
    return Authority(builder.sign(signer, hashes.SHA256()), key)


def _usage(*, ca: bool) -> x509.KeyUsage:
    rest = dict.fromkeys(
        ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "crl_sign"), False
    )
    return x509.KeyUsage(
        digital_signature=not ca, key_cert_sign=ca, encipher_only=False, decipher_only=False, **rest
    )


class Log:
    """A transparency log: promises, and proofs of a tree that has some entries besides."""

    def __init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())

    @property
    def id(self) -> str:
        return keys.fingerprint(self.key.public_key())

    def body(self, signature: bytes, data: bytes, verifier: bytes) -> bytes:
        return json.dumps(
            {
                "apiVersion": "0.0.1",
                "kind": "hashedrekord",
                "spec": {
                    "data": {"hash": {"algorithm": "sha256", "value": hashlib.sha256(data).hexdigest()}},
                    "signature": {"content": b64(signature), "publicKey": {"content": b64(verifier)}},
                },
            },
            separators=(",", ":"),
        ).encode()

    def dsse_body(self, signature: bytes, data: bytes, verifier: bytes) -> bytes:
        value = hashlib.sha256(data).hexdigest()
        return json.dumps(
            {
                "apiVersion": "0.0.1",
                "kind": "dsse",
                "spec": {
                    "envelopeHash": {"algorithm": "sha256", "value": value},
                    "payloadHash": {"algorithm": "sha256", "value": value},
                    "signatures": [{"signature": b64(signature), "verifier": b64(verifier)}],
                },
            },
            separators=(",", ":"),
        ).encode()

    def promise(self, body: bytes, time: int, index: int = 7) -> dict[str, Any]:
        """The annotation's object: {"SignedEntryTimestamp", "Payload"}."""
        entry = {"body": b64(body), "integratedTime": time, "logID": self.id, "logIndex": index}
        signed = keys.sign(self.key, json.dumps(entry, separators=(",", ":"), sort_keys=True).encode())
        return {"SignedEntryTimestamp": b64(signed), "Payload": entry}

    def proof(self, body: bytes, others: int = 5, place: int = 3) -> dict[str, Any]:
        """An inclusion proof of a tree with `others` further leaves, as a bundle has it."""
        leaves = [hashlib.sha256(b"\0other%d" % number).digest() for number in range(others)]
        leaves.insert(place, hashlib.sha256(b"\0" + body).digest())
        root = _root(leaves)
        text = f"log.example.org\n{len(leaves)}\n{b64(root)}\n"
        hint = bytes.fromhex(self.id)[:4]
        signed = b64(hint + keys.sign(self.key, text.encode()))
        return {
            "logIndex": str(place),
            "rootHash": b64(root),
            "treeSize": str(len(leaves)),
            "hashes": [b64(one) for one in _path(place, leaves)],
            "checkpoint": {"envelope": f"{text}\n\u2014 log.example.org {signed}\n"},
        }


def _split(count: int) -> int:
    size = 1
    while size * 2 < count:
        size *= 2
    return size


def _root(leaves: list[bytes]) -> bytes:
    """RFC 6962, section 2.1, over hashed leaves."""
    if len(leaves) == 1:
        return leaves[0]
    middle = _split(len(leaves))
    return hashlib.sha256(b"\1" + _root(leaves[:middle]) + _root(leaves[middle:])).digest()


def _path(place: int, leaves: list[bytes]) -> list[bytes]:
    if len(leaves) == 1:
        return []
    middle = _split(len(leaves))
    if place < middle:
        return [*_path(place, leaves[:middle]), _root(leaves[middle:])]
    return [*_path(place - middle, leaves[middle:]), _root(leaves[:middle])]


class Sigstore:
    """Root, intermediate, log; and signatures by certificates of the intermediate."""

    def __init__(self) -> None:
        self.root = Authority.root("root of the test")
        self.intermediate = self.root.authority("intermediate of the test")
        self.log = Log()
        self.time = int((NOW - dt.timedelta(minutes=55)).timestamp())

    def attached(
        self, manifest_digest: str, reference: str, signer: Authority | None = None, **changes: Any
    ) -> Attached:
        """As cosign attaches a keyless signature. `promise` replaces the log's, `time` is its time."""
        signer = signer or self.intermediate.signer()
        data = payload.make(Digest(manifest_digest), reference, payload.COSIGN)
        signature = keys.sign(signer.key, data)
        body = self.log.body(signature, data, pem(signer.certificate).encode())
        promise = changes.get("promise") or self.log.promise(body, changes.get("time", self.time))
        annotations = {
            SIGNATURE: b64(signature),
            CERTIFICATE: pem(signer.certificate),
            CHAIN: pem(self.intermediate.certificate) + pem(self.root.certificate),
            LOG: json.dumps(promise),
        }
        return Attached(data, annotations)

    def bundle(self, image: Image, signer: Authority | None = None, **changes: Any) -> dict[str, Any]:
        """A bundle with a message signature of the manifest."""
        signer = signer or self.intermediate.signer()
        data = changes.get("data", image.manifest)
        signature = keys.sign(signer.key, data)
        body = self.log.body(signature, data, pem(signer.certificate).encode())
        told = {"algorithm": "SHA2_256", "digest": b64(hashlib.sha256(data).digest())}
        return {
            "mediaType": BUNDLE,
            "verificationMaterial": self._material(signer, body),
            "messageSignature": {"messageDigest": told, "signature": b64(signature)},
        }

    def statement_bundle(self, subject: str, name: str = "", **changes: Any) -> dict[str, Any]:
        """A bundle with an in-toto statement of the digest `subject`."""
        signer = changes.get("signer") or self.intermediate.signer()
        about: dict[str, Any] = {"digest": {"sha256": subject.removeprefix("sha256:")}}
        if name:
            about["name"] = name
        statement = {
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [about],
            "predicateType": changes.get("predicate", "https://sigstore.dev/cosign/sign/v1"),
        }
        data = json.dumps(statement).encode()
        kind = "application/vnd.in-toto+json"
        signed = f"DSSEv1 {len(kind)} {kind} {len(data)} ".encode() + data
        signature = keys.sign(signer.key, signed)
        body = self.log.dsse_body(signature, data, pem(signer.certificate).encode())
        return {
            "mediaType": BUNDLE,
            "verificationMaterial": self._material(signer, body),
            "dsseEnvelope": {
                "payload": b64(data),
                "payloadType": kind,
                "signatures": [{"sig": b64(signature)}],
            },
        }

    def _material(self, signer: Authority, body: bytes) -> dict[str, Any]:
        promise = self.log.promise(body, self.time)
        der = signer.certificate.public_bytes(serialization.Encoding.DER)
        return {
            "certificate": {"rawBytes": b64(der)},
            "tlogEntries": [
                {
                    "logIndex": "7",
                    "logId": {"keyId": b64(bytes.fromhex(self.log.id))},
                    "kindVersion": {"kind": "hashedrekord", "version": "0.0.1"},
                    "integratedTime": str(self.time),
                    "inclusionPromise": {"signedEntryTimestamp": promise["SignedEntryTimestamp"]},
                    "inclusionProof": self.log.proof(body),
                    "canonicalizedBody": b64(body),
                }
            ],
        }

    def files(self, folder: Path) -> dict[str, str]:
        """root.pem, intermediate.pem, rekor.pub: written, as paths."""
        texts = {
            "root": pem(self.root.certificate),
            "intermediate": pem(self.intermediate.certificate),
            "rekor": public_pem(self.log.key).decode(),
        }
        for name, text in texts.items():
            (folder / f"{name}.pem").write_text(text)
        return {name: str(folder / f"{name}.pem") for name in texts}


def keyed(key: PrivateKey, manifest_digest: str, reference: str) -> Attached:
    """As `cosign sign --key` attaches it."""
    data = payload.make(Digest(manifest_digest), reference, payload.COSIGN)
    return Attached(data, {SIGNATURE: b64(keys.sign(key, data))})


def attach(
    running: Registry,
    repository: str,
    image_digest: str,
    signatures: Iterable[Attached | Bundle | dict[str, Any]],
    *,
    tag: str | None = None,
    subject: Mapping[str, Any] | None = None,
) -> str:
    """Push an attachment by cosign's tag; with `subject` (a descriptor) as what refers to it."""
    pusher = Pusher(running)
    layers = []
    for signature in signatures:
        if isinstance(signature, dict):
            signature = Bundle(json.dumps(signature).encode())
        data = signature.payload if isinstance(signature, Attached) else signature.data
        pusher.put_blob(repository, data)
        layer: dict[str, Any] = descriptor(PAYLOAD if isinstance(signature, Attached) else BUNDLE, data)
        if isinstance(signature, Attached):
            layer["annotations"] = dict(signature.annotations)
        layers.append(layer)
    config = b"{}"
    pusher.put_blob(repository, config)
    document: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": OCI,
        "config": descriptor("application/vnd.oci.image.config.v1+json", config),
        "layers": layers,
    }
    if subject is not None:
        kind = BUNDLE if layers and layers[0]["mediaType"] == BUNDLE else ARTIFACT
        document |= {"artifactType": kind, "subject": dict(subject)}
    data = json.dumps(document).encode()
    own = digest(data)
    if subject is None:
        pusher.put_manifest(repository, tag or image_digest.replace(":", "-") + ".sig", data, OCI)
        return own
    pusher.put_manifest(repository, own, data, OCI)
    entry = {**descriptor(OCI, data), "artifactType": document["artifactType"]}
    listed = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [entry],
    }
    fallback = str(subject["digest"]).replace(":", "-")
    index = json.dumps(listed).encode()
    pusher.put_manifest(repository, fallback, index, str(listed["mediaType"]))
    return own


def policy(path: Path, requirement: Mapping[str, Any] | list[Mapping[str, Any]], **scopes: Any) -> str:
    """A policy.json that rejects all but docker images, of which it wants `requirement`."""
    wanted = requirement if isinstance(requirement, list) else [requirement]
    document = {"default": [{"type": "reject"}], "transports": {"docker": {"": wanted}, **scopes}}
    path.write_text(json.dumps(document))
    return str(path)
