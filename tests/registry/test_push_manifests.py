"""distribution-spec 1.1, "Pushing Manifests" (end-7a, end-7b), "Pushing Manifests with Subject"."""

from __future__ import annotations

import json

import pytest

from tests.registry.support import CONFIG, EMPTY, INDEX, LAYER, MANIFEST, Client, descriptor, digest, image

_ABSENT = digest(b"nobody ever sent this")


def _blobs(client: Client, name: str) -> dict[str, object]:
    for data in (b"{}", b"a layer"):
        client.push_blob(name, data)
    return image(b"{}", [b"a layer"])


def test_end_7a_by_tag(client: Client, name: str) -> None:
    document = _blobs(client, name)
    data = json.dumps(document).encode()
    answer = client.put_manifest(name, "v1.0_a-b", document)
    assert answer.status == 201
    assert answer.headers["docker-content-digest"] == digest(data)
    assert client.ask("GET", answer.headers["location"]).body == data
    assert client.ask("GET", f"/v2/{name}/manifests/v1.0_a-b").body == data


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_end_7a_by_digest(client: Client, name: str, algorithm: str) -> None:
    document = _blobs(client, name)
    reference = digest(json.dumps(document).encode(), algorithm)
    answer = client.put_manifest(name, reference, document)
    assert (answer.status, answer.headers["docker-content-digest"]) == (201, reference)
    assert client.ask("GET", f"/v2/{name}/manifests/{reference}").json == document
    assert client.ask("GET", f"/v2/{name}/tags/list").json["tags"] == []


def test_end_7a_the_exact_bytes_are_stored(client: Client, name: str) -> None:
    data = json.dumps(_blobs(client, name), indent=7).encode() + b"\n\n"
    assert client.ask("PUT", f"/v2/{name}/manifests/t", data, {"Content-Type": MANIFEST}).status == 201
    assert client.ask("GET", f"/v2/{name}/manifests/t").body == data


def test_end_7a_tag_moves(client: Client, name: str) -> None:
    first = client.push_image(name, "t", b"one")
    second = client.push_image(name, "t", b"two")
    assert client.ask("GET", f"/v2/{name}/manifests/t").body == second
    assert client.ask("GET", f"/v2/{name}/manifests/{digest(first)}").body == first


def test_end_7a_wrong_digest_is_400(client: Client, name: str) -> None:
    answer = client.put_manifest(name, _ABSENT, _blobs(client, name))
    assert (answer.status, answer.codes) == (400, ["DIGEST_INVALID"])
    assert client.ask("GET", f"/v2/{name}/manifests/{_ABSENT}").status == 404


@pytest.mark.parametrize("reference", ["sha256:baddigeststring", "md5:00", "sha256:" + "A" * 64])
def test_end_7a_what_is_no_digest_is_400(client: Client, name: str, reference: str) -> None:
    assert client.put_manifest(name, reference, _blobs(client, name)).codes == ["DIGEST_INVALID"]


@pytest.mark.parametrize("tag", [".a", "-a", "a" * 129, "a%20b", "%ff", "a,b"])
def test_end_7a_what_is_no_tag_is_400(client: Client, name: str, tag: str) -> None:
    answer = client.put_manifest(name, tag, _blobs(client, name))
    assert (answer.status, answer.codes) == (400, ["MANIFEST_INVALID"])


def test_end_7a_missing_blobs_are_named(client: Client, name: str) -> None:
    client.push_blob(name, b"{}")
    document = image(b"{}", [b"absent 1", b"absent 2"])
    answer = client.put_manifest(name, "t", document)
    assert answer.status == 404
    assert answer.codes == ["MANIFEST_BLOB_UNKNOWN"] * 2
    missing = {error["detail"]["digest"] for error in answer.json["errors"]}
    assert missing == {digest(b"absent 1"), digest(b"absent 2")}
    assert client.ask("GET", f"/v2/{name}/manifests/t").status == 404


def test_end_7a_blobs_of_another_repository_are_missing(client: Client, name: str) -> None:
    document = _blobs(client, f"{name}/a")
    assert client.put_manifest(f"{name}/b", "t", document).codes[0] == "MANIFEST_BLOB_UNKNOWN"


def test_end_7a_missing_manifests_of_an_index_are_named(client: Client, name: str) -> None:
    here = client.push_image(name, "one")
    entries = [descriptor(MANIFEST, here), descriptor(MANIFEST, b"absent")]
    index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}
    answer = client.put_manifest(name, "all", index)
    assert (answer.status, answer.codes) == (404, ["MANIFEST_BLOB_UNKNOWN"])


def test_end_7a_index_of_indexes_and_of_blobs(client: Client, name: str) -> None:
    """BuildKit's caches are indexes whose entries are blobs."""
    here = client.push_image(name, "one")
    client.push_blob(name, b"cached")
    entries = [descriptor(MANIFEST, here), descriptor(LAYER, b"cached")]
    inner = {"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}
    assert client.put_manifest(name, "inner", inner).status == 201
    entry = descriptor(INDEX, json.dumps(inner).encode())
    outer = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]}
    assert client.put_manifest(name, "outer", outer).status == 201
    empty = {"schemaVersion": 2, "mediaType": INDEX, "manifests": []}
    assert client.put_manifest(name, "empty", empty).status == 201


def test_end_7a_layers_that_lie_elsewhere_need_not_be_there(client: Client, name: str) -> None:
    document = _blobs(client, name)
    assert isinstance(document["layers"], list)
    for kind in (
        "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
    ):
        document["layers"].append(descriptor(kind, kind.encode(), urls=["https://example.org/layer"]))
    assert client.put_manifest(name, "t", document).status == 201


def test_end_7a_list_of_layers_may_be_empty(client: Client, name: str) -> None:
    client.push_blob(name, b"{}")
    assert client.put_manifest(name, "t", image(b"{}", [])).status == 201


@pytest.mark.parametrize(
    "data",
    [
        *(b"", b"{", b"[]", b"null", b"\xff", b'{"schemaVersion":2}', b"[" * 100_000, b'{"a":1,"a":2}'),
        json.dumps({"schemaVersion": 1, "fsLayers": []}).encode(),
        json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": []}).encode(),  # as another type
        json.dumps({"schemaVersion": 2, "config": {"digest": "x", "size": 1}, "layers": []}).encode(),
        json.dumps({"schemaVersion": 2, "config": descriptor(CONFIG, b"{}"), "layers": {}}).encode(),
        json.dumps({**image(b"{}", []), "manifests": []}).encode(),  # two kinds in one
        json.dumps({**image(b"{}", []), "subject": "sha256:0"}).encode(),
    ],
)
def test_end_7a_malformed_manifest_is_400(client: Client, name: str, data: bytes) -> None:
    client.push_blob(name, b"{}")
    answer = client.ask("PUT", f"/v2/{name}/manifests/t", data, {"Content-Type": MANIFEST})
    assert (answer.status, answer.codes) == (400, ["MANIFEST_INVALID"])


def test_end_7a_unknown_type_is_400(client: Client, name: str) -> None:
    answer = client.ask("PUT", f"/v2/{name}/manifests/t", b"{}", {"Content-Type": "text/html"})
    assert (answer.status, answer.codes) == (400, ["MANIFEST_INVALID"])


def test_end_7a_manifest_of_4_megabytes_is_taken_a_larger_one_is_413(client: Client, name: str) -> None:
    document = _blobs(client, name)
    room = 4 * 1024 * 1024 - len(json.dumps({**document, "annotations": {"a": ""}}))
    document["annotations"] = {"a": "x" * room}
    assert client.put_manifest(name, "t", document).status == 201
    document["annotations"] = {"a": "x" * (room + 1)}
    answer = client.put_manifest(name, "t", document)
    assert (answer.status, answer.codes) == (413, ["SIZE_INVALID"])


def test_end_7a_manifest_of_unsaid_length_is_bounded_too(client: Client, name: str) -> None:
    pieces = (b" " * 65536 for _ in range(100))
    assert client.ask("PUT", f"/v2/{name}/manifests/t", pieces, {"Content-Type": MANIFEST}).status == 413


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_end_7b_tags_with_a_digest(client: Client, name: str, algorithm: str) -> None:
    document = _blobs(client, name)
    reference = digest(json.dumps(document).encode(), algorithm)
    tags = [f"t{number}" for number in range(12)]
    answer = client.put_manifest(name, f"{reference}?{'&'.join(f'tag={tag}' for tag in tags)}", document)
    assert answer.status == 201
    given = [value for key, value in answer.all_headers if key == "oci-tag"]
    assert sorted(tag.strip() for value in given for tag in value.split(",")) == sorted(tags)
    for tag in tags:
        found = client.ask("HEAD", f"/v2/{name}/manifests/{tag}")
        assert found.headers["docker-content-digest"] == reference


def test_end_7b_one_wrong_tag_and_nothing_is_there(client: Client, name: str) -> None:
    document = _blobs(client, name)
    reference = digest(json.dumps(document).encode())
    answer = client.put_manifest(name, f"{reference}?tag=good&tag=.bad", document)
    assert answer.codes == ["MANIFEST_INVALID"]
    assert client.ask("GET", f"/v2/{name}/manifests/{reference}").status == 404


def test_end_7b_too_many_tags_is_414(client: Client, name: str) -> None:
    document = _blobs(client, name)
    reference = digest(json.dumps(document).encode())
    for count in (101, 1000):
        query = "&".join(f"tag=t{number}" for number in range(count))
        assert client.put_manifest(name, f"{reference}?{query}", document).status == 414


@pytest.mark.parametrize("there", [True, False])
def test_subject_is_answered_whether_it_is_there_or_not(client: Client, name: str, there: bool) -> None:
    subject = client.push_image(name, "subject") if there else b"to come"
    document = {**_blobs(client, name), "subject": descriptor(MANIFEST, subject)}
    answer = client.put_manifest(name, "t", document)
    assert (answer.status, answer.headers["oci-subject"]) == (201, digest(subject))


def test_subject_of_an_index_is_answered_too(client: Client, name: str) -> None:
    index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [], "subject": descriptor(MANIFEST, b"s")}
    assert client.put_manifest(name, "t", index).headers["oci-subject"] == digest(b"s")


def test_without_a_subject_there_is_no_header(client: Client, name: str) -> None:
    assert "oci-subject" not in client.put_manifest(name, "t", _blobs(client, name)).headers


def test_artifact_with_the_empty_config_and_unknown_fields(client: Client, name: str) -> None:
    client.push_blob(name, b"{}")
    document = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": "application/vnd.example+type",
        "config": {**descriptor(EMPTY, b"{}"), "data": "e30="},
        "layers": [{**descriptor(EMPTY, b"{}"), "data": "e30="}],
        "org.example.extra": {"deep": [1, 2, 3]},
    }
    assert client.put_manifest(name, "t", document).status == 201
    assert client.ask("GET", f"/v2/{name}/manifests/t").json == document


def test_conditions_on_a_tag_are_kept(client: Client, name: str) -> None:
    """ "Clients MAY use a conditional HTTP push": two that change one tag see each other."""
    document = _blobs(client, name)
    assert client.put_manifest(name, "t", document, **{"If-None-Match": "*"}).status == 201
    assert client.put_manifest(name, "t", document, **{"If-None-Match": "*"}).status == 412
    tag = client.ask("HEAD", f"/v2/{name}/manifests/t").headers["etag"]
    other = {**document, "annotations": {"changed": "yes"}}
    assert client.put_manifest(name, "t", other, **{"If-Match": tag}).status == 201
    assert client.put_manifest(name, "t", document, **{"If-Match": tag}).status == 412
    assert client.ask("GET", f"/v2/{name}/manifests/t").json == other
