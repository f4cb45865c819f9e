"""What belongs to an image beside it: cosign's tags, referrers, simple signatures."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from orlop.image.digest import Digest
from orlop.image.signature.model import PAYLOAD, Attached, unpacked
from orlop.image.transport.locate import parse
from orlop.image.transport.open import Transports
from orlop.kit.errors import Conflict
from tests.image.copying import copied, digest_of, opening, raw, raw_json, whole
from tests.image.pushable import pushable
from tests.support.images import Image, Index, Layer, Pusher, descriptor, push, tar
from tests.support.registry import Registry, registry

pytestmark = pytest.mark.host
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture(scope="module")
def source() -> Iterator[Registry]:
    with registry() as running:
        yield running


@pytest.fixture(scope="module")
def target() -> Iterator[Registry]:
    with registry() as running:
        yield running


def image(text: bytes = b"x", architecture: str = "amd64") -> Image:
    return Image((Layer(tar({"f": text * 1000})),), architecture=architecture)


def attached(source: Registry, repository: str, subject: bytes, kind: str, content: bytes) -> bytes:
    """An artifact whose subject is a manifest, pushed by its digest; returns its bytes."""
    pusher = Pusher(source)
    pusher.put_blob(repository, b"{}")
    pusher.put_blob(repository, content)
    data = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "artifactType": kind,
            "config": descriptor("application/vnd.oci.empty.v1+json", b"{}"),
            "layers": [descriptor("application/octet-stream", content)],
            "subject": descriptor(OCI_MANIFEST, subject),
        }
    ).encode()
    pusher.put_manifest(repository, digest_of(data), data, OCI_MANIFEST)
    return data


def listed(source: Registry, repository: str, subject: str, *referrers: bytes) -> None:
    """The fallback tag, as clients write it where the registry has no API."""
    entries = [
        {**descriptor(OCI_MANIFEST, data), "artifactType": json.loads(data)["artifactType"]}
        for data in referrers
    ]
    index = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": entries,
    }
    Pusher(source).put_manifest(
        repository, subject.replace(":", "-"), json.dumps(index).encode(), str(index["mediaType"])
    )


def referrers(registry_: str, repository: str, digest: str) -> dict[str, str]:
    found = Transports().source(parse(f"docker://{registry_}/{repository}@{digest}"), opening())
    try:
        return {str(entry.digest): entry.artifact_type for entry in found.referrers(Digest(digest))}
    finally:
        found.close()


def test_cosigns_tags_and_referrers_come_along_where_asked(
    source: Registry, target: Registry, tmp_path: Path
) -> None:
    index = Index((image(), image(b"y", "arm64")))
    name = push(source, "signed:1", index)
    member = index.members[1]
    signature = image(b"a signature")  # what it is made of does not matter here
    push(source, f"signed:{index.digest.replace(':', '-')}.sig", signature)
    push(source, f"signed:{member.digest.replace(':', '-')}.att", image(b"an attestation"))
    sbom = attached(source, "signed", member.manifest, "application/x.sbom", b"sbom")
    proof = attached(source, "signed", sbom, "application/x.signature", b"signature of the sbom")
    listed(source, "signed", member.digest, sbom)
    listed(source, "signed", digest_of(sbom), proof)

    destination = f"docker://{target.reference('plain:1')}"
    copied(f"docker://{name}", destination, all_platforms=True)
    assert referrers(target.address, "plain", member.digest) == {}

    destination = f"docker://{target.reference('signed:1')}"
    done = copied(f"docker://{name}", destination, all_platforms=True, signatures=True)
    assert done.digest == index.digest
    tagged = f"docker://{target.address}/signed:{index.digest.replace(':', '-')}.sig"
    assert raw(tagged) == signature.manifest
    whole(tagged, tmp_path / "seen")
    assert raw_json(f"docker://{target.address}/signed:{member.digest.replace(':', '-')}.att")
    assert referrers(target.address, "signed", member.digest) == {digest_of(sbom): "application/x.sbom"}
    assert referrers(target.address, "signed", digest_of(sbom)) == {
        digest_of(proof): "application/x.signature"
    }
    with pytest.raises(Conflict, match="conversion changes"):
        copied(f"docker://{name}", destination, all_platforms=True, signatures=True, compression="zstd")

    # Through a layout and to a registry with the API of 1.1.
    layout = f"oci:{tmp_path}/layout:signed"
    copied(destination, layout, all_platforms=True, signatures=True)
    with pushable(subjects=True) as server:
        copied(layout, f"docker://{server.reference()}", all_platforms=True, signatures=True)
        assert server.manifests["1"][0] == index.manifest
        assert server.manifests[f"{index.digest.replace(':', '-')}.sig"][0] == signature.manifest
        assert referrers(server.address, "ship/cargo", member.digest) == {
            digest_of(sbom): "application/x.sbom"
        }


def test_simple_signatures_are_carried_or_refused_never_lost(
    source: Registry, target: Registry, tmp_path: Path
) -> None:
    name = push(source, "simple:1", image())
    folder = tmp_path / "dir"
    copied(f"docker://{name}", f"dir:{folder}")
    (folder / "signature-1").write_bytes(b"an OpenPGP message")
    copied(f"dir:{folder}", f"dir:{tmp_path}/other")
    assert (tmp_path / "other" / "signature-1").read_bytes() == b"an OpenPGP message"
    with pytest.raises(Conflict, match="signed"):
        copied(f"dir:{folder}", f"dir:{tmp_path}/third", compression="zstd")
    with pytest.raises(Conflict, match="signed"):
        copied(f"dir:{folder}", f"oci:{tmp_path}/layout:x")
    copied(f"dir:{folder}", f"dir:{tmp_path}/third", compression="zstd", remove_signatures=True)
    assert not (tmp_path / "third" / "signature-1").exists()
    copied(f"dir:{folder}", f"docker://{target.reference('simple:1')}", remove_signatures=True)


def test_cosigns_signatures_lie_beside_the_image_in_a_folder_and_are_attached_again_behind_it(
    source: Registry, target: Registry, tmp_path: Path
) -> None:
    made = image()
    name = push(source, "beside:1", made)
    tag = f"{made.digest.replace(':', '-')}.sig"
    payload = b"who signs what"
    described = {"dev.cosignproject.cosign/signature": "MEUC"}
    pusher = Pusher(source)
    layer = descriptor(PAYLOAD, payload) | {"annotations": described}
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": descriptor("application/vnd.oci.image.config.v1+json", b"{}"),
        "layers": [layer],
    }
    for blob in (b"{}", payload):
        pusher.put_blob("beside", blob)
    pusher.put_manifest("beside", tag, json.dumps(manifest).encode(), OCI_MANIFEST)

    copied(f"docker://{name}", f"dir:{tmp_path}/dir", signatures=True)
    kept = unpacked((tmp_path / "dir" / "signature-1").read_bytes())
    assert kept == Attached(payload, described)
    copied(f"dir:{tmp_path}/dir", f"docker://{target.reference('back:1')}")
    back = raw_json(f"docker://{target.address}/back:{tag}")
    assert back["layers"] == [layer]

    with pytest.raises(Conflict, match=r"holds no signatures|conversion changes"):
        copied(f"docker://{name}", f"docker-archive:{tmp_path}/archive:a:1", signatures=True)
    push(source, f"beside:{made.digest.replace(':', '-')}.att", image(b"an attestation"))
    with pytest.raises(Conflict, match=r"\.att"):
        copied(f"docker://{name}", f"dir:{tmp_path}/other", signatures=True)
