"""Sigstore signatures: what a good one proves, and every way of being worth nothing."""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import json
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID

from orlop.image.digest import Digest
from orlop.image.signature import keys, payload
from orlop.image.signature.keys import PrivateKey
from orlop.image.signature.log import Proof, _root
from orlop.image.signature.model import CERTIFICATE, LOG, SIGNATURE, Attached, BadSignature, Bundle
from orlop.image.signature.sigstore import Trust, verify
from tests.image.signing import (
    EMAIL,
    ISSUER,
    NOW,
    Authority,
    Log,
    Sigstore,
    b64,
    keyed,
    raw_of,
)
from tests.support.images import Image, Layer, tar

IMAGE = Image((Layer(tar({"a": b"a"})),))
OTHER = Image((Layer(tar({"b": b"b"})),))
NAME = "registry.example/app:1"
RAW = raw_of(IMAGE)
_PEM, _SPKI = Encoding.PEM, PublicFormat.SubjectPublicKeyInfo


@pytest.fixture(scope="module")
def sigstore() -> Sigstore:
    return Sigstore()


def trust(sigstore: Sigstore, **changes: Any) -> Trust:
    values: dict[str, Any] = {
        "roots": (sigstore.root.certificate,),
        "intermediates": (sigstore.intermediate.certificate,),  # bundles bring the signer's alone
        "email": EMAIL,
        "issuer": ISSUER,
        "logs": (sigstore.log.key.public_key(),),
    }
    return Trust(**{**values, **changes})


def refused(signature: Attached | Bundle, believed: Trust, words: str) -> None:
    with pytest.raises(BadSignature, match=words):
        verify(signature, [RAW], believed)


def as_bundle(document: dict[str, Any]) -> Bundle:
    return Bundle(json.dumps(document).encode())


KEYS: list[PrivateKey] = [
    ec.generate_private_key(ec.SECP256R1()),
    ec.generate_private_key(ec.SECP384R1()),
    ec.generate_private_key(ec.SECP521R1()),
    rsa.generate_private_key(65537, 2048),
    ed25519.Ed25519PrivateKey.generate(),
]


@pytest.mark.parametrize("key", KEYS, ids=lambda key: type(key).__name__)
def test_keys_of_every_kind(key: PrivateKey) -> None:
    signature = keyed(key, IMAGE.digest, NAME)
    found = verify(signature, [RAW], Trust(keys=(KEYS[0].public_key(), key.public_key())))
    assert (found.digest, found.reference) == (IMAGE.digest, NAME)
    assert found.key == keys.fingerprint(key.public_key())
    other = ec.generate_private_key(ec.SECP256R1())
    refused(signature, Trust(keys=(other.public_key(),)), "not by a key")


def test_other_hashes_and_paddings_of_the_same_keys() -> None:
    data = payload.make(Digest(IMAGE.digest), NAME, payload.COSIGN)
    large, key = KEYS[1], KEYS[3]
    assert isinstance(large, ec.EllipticCurvePrivateKey)
    assert isinstance(key, rsa.RSAPrivateKey)
    pss = padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.MAX_LENGTH)
    for signer, made in (
        (large, large.sign(data, ec.ECDSA(hashes.SHA384()))),
        (key, key.sign(data, pss, hashes.SHA256())),
    ):
        found = Attached(data, {SIGNATURE: b64(made)})
        assert verify(found, [RAW], Trust(keys=(signer.public_key(),))).digest == IMAGE.digest


def test_a_signature_of_another_image_or_another_payload() -> None:
    key = KEYS[0]
    believed = Trust(keys=(key.public_key(),))
    refused(keyed(key, OTHER.digest, NAME), believed, "another manifest")
    good = keyed(key, IMAGE.digest, NAME)
    swapped = Attached(good.payload.replace(b"app", b"apq"), good.annotations)
    refused(swapped, believed, "not by a key")
    refused(Attached(good.payload, {}), believed, "empty")
    refused(Attached(good.payload, {SIGNATURE: "!"}), believed, "base64")
    refused(Attached(good.payload, good.annotations, "text/plain"), believed, "text/plain")


def _critical(text: bytes) -> bytes:
    return b'{"critical":' + text + b',"optional":null}'


_GOOD = (
    b'{"identity":{"docker-reference":"r.io/a:1"},"image":{"docker-manifest-digest":"%s"},'
    b'"type":"cosign container image signature"}' % IMAGE.digest.encode()
)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (_critical(_GOOD[:-1] + b',"more":1}'), "unknown member: 'more'"),
        (_critical(_GOOD[:-1] + b',"type":"cosign container image signature"}'), "twice"),
        (_critical(_GOOD.replace(b"cosign container", b"atomic container")), "of type"),
        (_critical(_GOOD.replace(b"docker-manifest-digest", b"Docker-manifest-digest")), "unknown member"),
        (_critical(_GOOD.replace(b"sha256:", b"sha1:")), "digest"),
        (_critical(_GOOD.replace(b'"r.io/a:1"', b"7")), "no string"),
        (_critical(b"[]"), "not an object"),
        (_critical(_GOOD)[:-1] + b',"critical":{}}', "twice"),
        (_critical(_GOOD)[:-1] + b',"x":1}', "unknown member: 'x'"),
        (b'{"critical":' + _GOOD + b"}", "lacks 'optional'"),
        (b'{"critical":' + _GOOD + b',"optional":{"timestamp":1e999}}', "timestamp"),
        (b'{"critical":' + _GOOD + b',"optional":{"timestamp":1.5}}', "timestamp"),
        (b'{"critical":' + _GOOD + b',"optional":{"creator":1}}', "creator"),
        (b'{"critical":' + _GOOD + b',"optional":[]}', "optional"),
        (b"\xff", "JSON"),
        (b"[" * 100_000, "JSON"),
    ],
)
def test_payloads_that_are_not_exactly_payloads(data: bytes, words: str) -> None:
    key = KEYS[0]
    signature = Attached(data, {SIGNATURE: b64(keys.sign(key, data))})
    refused(signature, Trust(keys=(key.public_key(),)), words)


def test_a_payload_beyond_its_bound(sigstore: Sigstore) -> None:
    data = b'{"critical":' + _GOOD + b',"optional":{"x":"' + b"y" * (1 << 20) + b'"}}'
    signature = Attached(data, {SIGNATURE: b64(keys.sign(KEYS[0], data))})
    refused(signature, Trust(keys=(KEYS[0].public_key(),)), "longer than")


# Certificates


def test_a_certificate_of_the_past_is_good_at_the_time_of_its_log_entry(sigstore: Sigstore) -> None:
    found = verify(sigstore.attached(IMAGE.digest, NAME), [RAW], trust(sigstore))
    assert (found.subject, found.issuer, found.reference) == (EMAIL, ISSUER, NAME)
    assert (found.log_index, found.time) == (7, sigstore.time)


def test_the_time_is_the_logs_not_the_certificates(sigstore: Sigstore) -> None:
    late = sigstore.attached(IMAGE.digest, NAME, time=int(NOW.timestamp()))
    refused(late, trust(sigstore), "not valid at")
    early = sigstore.attached(IMAGE.digest, NAME, time=sigstore.time - 86400)
    refused(early, trust(sigstore), "not valid at")


def test_who_the_certificate_is_of(sigstore: Sigstore) -> None:
    good = sigstore.attached(IMAGE.digest, NAME)
    refused(good, trust(sigstore, email="eve@example.org"), "not of eve")
    refused(good, trust(sigstore, email="da@example.org"), "not of da")
    refused(good, trust(sigstore, issuer="https://login.example.org/"), "vouched for")
    nobody = sigstore.intermediate.signer(issuer=None)
    refused(sigstore.attached(IMAGE.digest, NAME, nobody), trust(sigstore), "vouched for by nobody")
    uri = sigstore.intermediate.signer(names=[x509.UniformResourceIdentifier(EMAIL)])
    refused(sigstore.attached(IMAGE.digest, NAME, uri), trust(sigstore), "not of")
    any_name = trust(sigstore, email="", subject="https://forge.example/work.yml@main")
    workflow = sigstore.intermediate.signer(
        names=[x509.UniformResourceIdentifier("https://forge.example/work.yml@main")]
    )
    assert verify(sigstore.attached(IMAGE.digest, NAME, workflow), [RAW], any_name)


def test_two_issuers_in_one_certificate(sigstore: Sigstore) -> None:
    evil = b"https://evil.example"
    other = x509.UnrecognizedExtension(
        x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.8"), bytes((0x0C, len(evil))) + evil
    )
    old = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.1"), ISSUER.encode())
    signer = sigstore.intermediate.signer(issuer=None, extra=[old, other])
    refused(sigstore.attached(IMAGE.digest, NAME, signer), trust(sigstore), "two issuers")


def test_chains_that_lead_elsewhere(sigstore: Sigstore) -> None:
    stranger = Authority.root("root of the test")  # the same name, another key
    refused(
        sigstore.attached(IMAGE.digest, NAME),
        trust(sigstore, roots=(stranger.certificate,)),
        "does not lead to a root",
    )
    self_made = Authority.root("self").signer()
    refused(sigstore.attached(IMAGE.digest, NAME, self_made), trust(sigstore), "does not lead")
    below_leaf = sigstore.intermediate.signer().signer()
    refused(sigstore.attached(IMAGE.digest, NAME, below_leaf), trust(sigstore), "does not lead")


def _through(sigstore: Sigstore, middle: Authority, words: str, **changes: Any) -> None:
    signature = sigstore.attached(IMAGE.digest, NAME, middle.signer(**changes))
    refused(signature, trust(sigstore, intermediates=(middle.certificate,)), words)


def test_certificates_that_may_not(sigstore: Sigstore) -> None:
    root = sigstore.root
    _through(sigstore, root.authority("old", end=NOW - dt.timedelta(days=2)), "not valid at")
    web = [ExtendedKeyUsageOID.SERVER_AUTH]
    _through(sigstore, root.authority("web", purposes=web), "not for signing code")
    _through(sigstore, root.authority("good"), "not for signing code", purposes=web)
    _through(sigstore, root.authority("good"), "not for signing code", purposes=[])
    unknown = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")
    _through(sigstore, root.authority("good"), "critical extension 1.2.3.4", critical=[unknown])
    _through(sigstore, root.authority("odd", critical=[unknown]), "critical extension")
    constraint = x509.NameConstraints([x509.RFC822Name("example.com")], None)
    _through(sigstore, root.authority("named", critical=[constraint]), "name constraints")
    short = root.authority("short", path_length=0)
    lower = short.authority("lower")
    signature = sigstore.attached(IMAGE.digest, NAME, lower.signer())
    both = (short.certificate, lower.certificate)
    refused(signature, trust(sigstore, intermediates=both), "so far down")


def test_authorities_that_all_issue_each_other_are_given_up(sigstore: Sigstore) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    first = Authority.root("ring", key=key)
    ring = [first, *(first.authority("ring", key=key) for _ in range(7))]
    signature = sigstore.attached(IMAGE.digest, NAME, first.signer())
    chain = "".join(str(one.certificate.public_bytes(_PEM), "ascii") for one in ring[:7])
    signature = Attached(signature.payload, {**signature.annotations, "dev.sigstore.cosign/chain": chain})
    refused(signature, trust(sigstore), "lead everywhere|does not lead")


def test_a_certificate_that_is_not_the_signers(sigstore: Sigstore) -> None:
    good = sigstore.attached(IMAGE.digest, NAME)
    other = sigstore.attached(IMAGE.digest, NAME)
    mixed = {**good.annotations, CERTIFICATE: other.annotations[CERTIFICATE]}
    refused(Attached(good.payload, mixed), trust(sigstore), "not by its certificate's key")
    without = {key: value for key, value in good.annotations.items() if key == SIGNATURE}
    refused(Attached(good.payload, without), trust(sigstore), "no certificate")
    broken = {**good.annotations, CERTIFICATE: "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"}
    refused(Attached(good.payload, broken), trust(sigstore), "malformed")


def test_private_authorities_count_as_of_now(sigstore: Sigstore) -> None:
    lasting: dict[str, Any] = {
        "start": NOW - dt.timedelta(days=1),
        "end": NOW + dt.timedelta(days=1),
        "issuer": None,
    }
    hosts = [x509.DNSName("*.build.example"), x509.RFC822Name(EMAIL)]
    signer = sigstore.intermediate.signer(names=hosts, **lasting)
    signature = sigstore.attached(IMAGE.digest, NAME, signer)
    believed = Trust(roots=(sigstore.root.certificate,), email=EMAIL, now=True)
    assert verify(signature, [RAW], believed).subject == EMAIL

    def host(name: str) -> Trust:
        return Trust(roots=(sigstore.root.certificate,), hostname=name, now=True)

    assert verify(signature, [RAW], host("one.build.example"))
    refused(signature, host("a.one.build.example"), "not of")
    refused(signature, host("build.example"), "not of")
    old = sigstore.attached(IMAGE.digest, NAME)
    refused(old, believed, "not valid at")


# The log


def test_what_the_log_says_must_be_of_this_signature(sigstore: Sigstore) -> None:
    good = sigstore.attached(IMAGE.digest, NAME)
    other = sigstore.attached(OTHER.digest, NAME)
    for changed, words in (
        ({**good.annotations, LOG: other.annotations[LOG]}, "something else"),
        ({k: v for k, v in good.annotations.items() if k != LOG}, "no log entry"),
        ({**good.annotations, LOG: "{}"}, "log entry"),
        ({**good.annotations, LOG: "null"}, "malformed"),
    ):
        refused(Attached(good.payload, changed), trust(sigstore), words)
    again = sigstore.attached(IMAGE.digest, NAME)  # the same payload, another signature
    mixed = {**good.annotations, LOG: again.annotations[LOG]}
    refused(Attached(good.payload, mixed), trust(sigstore), "another signature")


def test_the_log_itself(sigstore: Sigstore) -> None:
    stranger = Log()
    good = sigstore.attached(IMAGE.digest, NAME)
    refused(good, trust(sigstore, logs=(stranger.key.public_key(),)), "none of those")
    document = json.loads(good.annotations[LOG])
    body = base64.b64decode(document["Payload"]["body"])
    forged = stranger.promise(body, sigstore.time)
    forged["Payload"]["logID"] = sigstore.log.id
    refused(sigstore.attached(IMAGE.digest, NAME, promise=forged), trust(sigstore), "not by the log's key")
    moved = json.loads(good.annotations[LOG])
    moved["Payload"]["integratedTime"] += 1
    changed = {**good.annotations, LOG: json.dumps(moved)}
    refused(Attached(good.payload, changed), trust(sigstore), "not by the log's key")


def test_a_log_may_be_wanted_of_keys_too(sigstore: Sigstore) -> None:
    key = KEYS[0]
    logs = (sigstore.log.key.public_key(),)
    believed = Trust(keys=(key.public_key(),), logs=logs)
    plain = keyed(key, IMAGE.digest, NAME)
    refused(plain, believed, "no log entry")
    signature = base64.b64decode(plain.annotations[SIGNATURE])
    public = key.public_key().public_bytes(_PEM, _SPKI)
    body = sigstore.log.body(signature, plain.payload, public)
    logged = {**plain.annotations, LOG: json.dumps(sigstore.log.promise(body, sigstore.time))}
    assert verify(Attached(plain.payload, logged), [RAW], believed).log_index == 7
    other = sigstore.log.body(signature, plain.payload, KEYS[3].public_key().public_bytes(_PEM, _SPKI))
    wrong = {**plain.annotations, LOG: json.dumps(sigstore.log.promise(other, sigstore.time))}
    refused(Attached(plain.payload, wrong), believed, "another key")


@pytest.mark.parametrize("others", range(9))
def test_proofs_of_trees_of_every_shape(others: int) -> None:
    log = Log()
    for place in range(others + 1):
        found = log.proof(b"body", others, place)
        hashed = tuple(map(base64.b64decode, found["hashes"]))
        root = base64.b64decode(found["rootHash"])
        leaf = hashlib.sha256(b"\0body").digest()
        assert _root(leaf, Proof(place, others + 1, root, hashed, "")) == root
        for wrong in (hashed[1:], (*hashed, leaf)) if hashed else ((leaf,),):
            try:
                assert _root(leaf, Proof(place, others + 1, root, wrong, "")) != root
            except BadSignature:
                continue


# Bundles


def test_bundles_with_a_message_or_a_statement(sigstore: Sigstore) -> None:
    found = verify(as_bundle(sigstore.bundle(IMAGE)), [RAW], trust(sigstore))
    assert (found.kind, found.digest, found.reference, found.subject) == ("bundle", IMAGE.digest, "", EMAIL)
    named = as_bundle(sigstore.statement_bundle(IMAGE.digest, "registry.example/app"))
    assert verify(named, [RAW], trust(sigstore)).reference == "registry.example/app"


def test_bundles_of_something_else(sigstore: Sigstore) -> None:
    refused(as_bundle(sigstore.bundle(OTHER)), trust(sigstore), "another manifest")
    refused(as_bundle(sigstore.statement_bundle(OTHER.digest)), trust(sigstore), "another manifest")
    attestation = sigstore.statement_bundle(IMAGE.digest, predicate="https://slsa.dev/provenance/v1")
    refused(as_bundle(attestation), trust(sigstore), "attestation")
    lie = sigstore.bundle(OTHER)
    told = lie["messageSignature"]["messageDigest"]
    told["digest"] = b64(hashlib.sha256(IMAGE.manifest).digest())
    refused(as_bundle(lie), trust(sigstore), "certificate's key")


def _changed(document: dict[str, Any], path: str, value: Any) -> Bundle:
    copy = json.loads(json.dumps(document))
    *above, last = path.split(".")
    inner = copy
    for key in above:
        inner = inner[int(key)] if key.isdigit() else inner[key]
    if value is None:
        del inner[last]
    else:
        inner[last] = value
    return as_bundle(copy)


ENTRY = "verificationMaterial.tlogEntries.0"


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("mediaType", "application/vnd.dev.sigstore.bundle.v9+json", "type"),
        ("verificationMaterial.tlogEntries", [], "no log entry"),
        (f"{ENTRY}.inclusionPromise", None, "did not sign the time"),
        (f"{ENTRY}.integratedTime", "1", "not by the log's key"),
        (f"{ENTRY}.logIndex", "-1", "not a number"),
        (f"{ENTRY}.logId.keyId", b64(b"0" * 32), "none of those"),
        (f"{ENTRY}.inclusionProof.rootHash", b64(b"0" * 32), "another tree"),
        (f"{ENTRY}.inclusionProof.logIndex", "1", "does not lead|too"),
        (f"{ENTRY}.inclusionProof.treeSize", "5", "another tree"),
        (f"{ENTRY}.inclusionProof.hashes", [], "too short"),
        (f"{ENTRY}.inclusionProof.checkpoint.envelope", "x", "checkpoint is malformed"),
        (f"{ENTRY}.canonicalizedBody", b64(b"{}"), "not by the log's key"),
        ("verificationMaterial.certificate.rawBytes", b64(b"x"), "malformed"),
        ("messageSignature.signature", b64(b"x"), "certificate's key"),
        ("messageSignature.messageDigest.algorithm", "SHA2_512", "not supported"),
        ("messageSignature", None, "not a bundle with one signature"),
        ("dsseEnvelope", {}, "not a bundle with one signature"),
    ],
)
def test_bundles_with_one_thing_wrong(sigstore: Sigstore, path: str, value: Any, words: str) -> None:
    refused(_changed(sigstore.bundle(IMAGE), path, value), trust(sigstore), words)


def test_a_checkpoint_of_another_log(sigstore: Sigstore) -> None:
    document = sigstore.bundle(IMAGE)
    entry = document["verificationMaterial"]["tlogEntries"][0]
    body = base64.b64decode(entry["canonicalizedBody"])
    entry["inclusionProof"] = Log().proof(body)
    refused(as_bundle(document), trust(sigstore), "checkpoint is not by the log's key")


def test_timestamps_that_are_not_supported_are_named(sigstore: Sigstore) -> None:
    document = sigstore.bundle(IMAGE)
    document["verificationMaterial"]["tlogEntries"] = []
    stamps = {"rfc3161Timestamps": [{"signedTimestamp": b64(b"x")}]}
    document["verificationMaterial"]["timestampVerificationData"] = stamps
    refused(as_bundle(document), trust(sigstore), "RFC 3161")


def test_an_index_and_its_image_are_two_manifests(sigstore: Sigstore) -> None:
    both = [raw_of(OTHER), RAW]
    assert verify(keyed(KEYS[0], IMAGE.digest, NAME), both, Trust(keys=(KEYS[0].public_key(),)))


def test_annotations_that_are_no_text(sigstore: Sigstore) -> None:
    good = sigstore.attached(IMAGE.digest, NAME)
    for key in (SIGNATURE, CERTIFICATE, LOG):
        broken = Attached(good.payload, {**good.annotations, key: "\ud800" + good.annotations[key]})
        with pytest.raises(BadSignature):
            verify(broken, [RAW], trust(sigstore))
    bundle = sigstore.bundle(IMAGE)
    envelope = bundle["verificationMaterial"]["tlogEntries"][0]["inclusionProof"]["checkpoint"]
    envelope["envelope"] = "\ud800" + envelope["envelope"]
    refused(as_bundle(bundle), trust(sigstore), "checkpoint")


@pytest.mark.parametrize("place", range(0, 4000, 61))
def test_any_byte_changed_in_a_bundle_is_refused_in_words(place: int, sigstore: Sigstore) -> None:
    """Or it changed nothing that is signed: then it proves the same."""
    data = json.dumps(sigstore.bundle(IMAGE)).encode()
    place %= len(data)
    for byte in (b"0", b'"', b"}", b"\xff"):
        changed = Bundle(data[:place] + byte + data[place + 1 :])
        try:
            found = verify(changed, [RAW], trust(sigstore))
        except BadSignature:
            continue
        assert (found.digest, found.subject) == (IMAGE.digest, EMAIL)
