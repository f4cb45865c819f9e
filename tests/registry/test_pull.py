"""distribution-spec 1.1, "Pull": end-1, end-2, end-3. Each test is a sentence of it."""

from __future__ import annotations

import json

import pytest

from tests.registry.support import INDEX, MANIFEST, Client, descriptor, digest, image

_BLOB = bytes(range(256)) * 8
_ABSENT = digest(b"nobody ever sent this")


def test_end_1_base_says_that_the_specification_is_implemented(client: Client) -> None:
    answer = client.ask("GET", "/v2/")
    assert answer.status == 200
    assert answer.json == {}
    assert answer.headers["docker-distribution-api-version"] == "registry/2.0"


def test_end_2_get_blob_provides_it(client: Client, name: str) -> None:
    blob = client.push_blob(name, _BLOB)
    answer = client.ask("GET", f"/v2/{name}/blobs/{blob}")
    assert (answer.status, answer.body) == (200, _BLOB)
    assert answer.headers["docker-content-digest"] == blob
    assert answer.headers["content-length"] == str(len(_BLOB))
    assert answer.headers["content-type"] == "application/octet-stream"


def test_end_2_head_blob_has_digest_and_length(client: Client, name: str) -> None:
    blob = client.push_blob(name, _BLOB)
    answer = client.ask("HEAD", f"/v2/{name}/blobs/{blob}")
    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers["docker-content-digest"] == blob
    assert answer.headers["content-length"] == str(len(_BLOB))


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_end_2_unknown_blob_is_404(client: Client, name: str, method: str) -> None:
    client.push_blob(name, _BLOB)
    answer = client.ask(method, f"/v2/{name}/blobs/{_ABSENT}")
    assert answer.status == 404
    if method == "GET":
        assert answer.codes == ["BLOB_UNKNOWN"]


def test_end_2_blob_of_another_repository_is_404(client: Client, name: str) -> None:
    blob = client.push_blob(f"{name}/theirs", b"a secret of theirs")
    assert client.ask("GET", f"/v2/{name}/mine/blobs/{blob}").codes == ["BLOB_UNKNOWN"]


@pytest.mark.parametrize("wrong", ["sha256:abc", "sha256:" + "A" * 64, "md5:" + "0" * 32, "latest"])
def test_end_2_what_is_no_digest_is_400(client: Client, name: str, wrong: str) -> None:
    assert client.ask("GET", f"/v2/{name}/blobs/{wrong}").codes == ["DIGEST_INVALID"]


@pytest.mark.parametrize(
    ("header", "first", "last"),
    [
        *(("bytes=0-0", 0, 0), ("bytes=500-1499", 500, 1499), ("bytes=500-", 500, 2047)),
        *(("bytes=-500", 1548, 2047), ("bytes=2000-5000", 2000, 2047), ("bytes=-9999", 0, 2047)),
    ],
)
def test_end_2_range_gives_that_part(client: Client, name: str, header: str, first: int, last: int) -> None:
    blob = client.push_blob(name, _BLOB)
    answer = client.ask("GET", f"/v2/{name}/blobs/{blob}", headers={"Range": header})
    assert (answer.status, answer.body) == (206, _BLOB[first : last + 1])
    assert answer.headers["content-range"] == f"bytes {first}-{last}/{len(_BLOB)}"
    assert answer.headers["content-length"] == str(last - first + 1)
    assert answer.headers["docker-content-digest"] == blob


@pytest.mark.parametrize("header", ["bytes=2048-", "bytes=5000-10000", "bytes=500-0", "bytes=-0"])
def test_end_2_range_outside_is_416(client: Client, name: str, header: str) -> None:
    blob = client.push_blob(name, _BLOB)
    answer = client.ask("GET", f"/v2/{name}/blobs/{blob}", headers={"Range": header})
    assert answer.status == 416
    assert answer.headers["content-range"] == f"bytes */{len(_BLOB)}"


@pytest.mark.parametrize("header", ["bytes=0-1,5-6", "lines=1-2", "bytes=x-y", "bytes=-", "bytes"])
def test_end_2_range_that_is_not_understood_gives_all(client: Client, name: str, header: str) -> None:
    blob = client.push_blob(name, _BLOB)
    answer = client.ask("GET", f"/v2/{name}/blobs/{blob}", headers={"Range": header})
    assert (answer.status, answer.body) == (200, _BLOB)


def test_end_2_if_range_of_another_content_gives_all(client: Client, name: str) -> None:
    blob = client.push_blob(name, _BLOB)
    path = f"/v2/{name}/blobs/{blob}"
    part = {"Range": "bytes=0-9"}
    assert client.ask("GET", path, headers={**part, "If-Range": f'"{blob}"'}).status == 206
    assert client.ask("GET", path, headers={**part, "If-Range": '"other"'}).status == 200


def test_end_2_blob_that_the_client_has_is_304(client: Client, name: str) -> None:
    blob = client.push_blob(name, _BLOB)
    path = f"/v2/{name}/blobs/{blob}"
    tag = client.ask("GET", path).headers["etag"]
    answer = client.ask("GET", path, headers={"If-None-Match": f'"other", {tag}'})
    assert (answer.status, answer.body) == (304, b"")


def test_end_2_empty_blob(client: Client, name: str) -> None:
    blob = client.push_blob(name, b"")
    answer = client.ask("GET", f"/v2/{name}/blobs/{blob}")
    assert (answer.status, answer.body, answer.headers["content-length"]) == (200, b"", "0")


def test_end_2_sha512_blob(client: Client, name: str) -> None:
    blob = client.push_blob(name, _BLOB, "sha512")
    answer = client.ask("GET", f"/v2/{name}/blobs/{blob}")
    assert (answer.body, answer.headers["docker-content-digest"]) == (_BLOB, blob)


def test_end_2_digest_may_be_percent_encoded(client: Client, name: str) -> None:
    blob = client.push_blob(name, _BLOB)
    assert client.ask("GET", f"/v2/{name}/blobs/{blob.replace(':', '%3A')}").status == 200


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("by", ["tag", "digest"])
def test_end_3_manifest_by_tag_and_by_digest(client: Client, name: str, method: str, by: str) -> None:
    data = client.push_image(name, "latest")
    reference = "latest" if by == "tag" else digest(data)
    answer = client.ask(method, f"/v2/{name}/manifests/{reference}")
    assert (answer.status, answer.body) == (200, data if method == "GET" else b"")
    assert answer.headers["docker-content-digest"] == digest(data)
    assert answer.headers["content-length"] == str(len(data))
    assert answer.headers["content-type"] == MANIFEST


@pytest.mark.parametrize("reference", ["absent", _ABSENT, ".notatag", "x" * 129])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_end_3_unknown_manifest_is_404(client: Client, name: str, method: str, reference: str) -> None:
    client.push_image(name, "latest")
    answer = client.ask(method, f"/v2/{name}/manifests/{reference}")
    assert answer.status == 404
    if method == "GET":
        assert answer.codes == ["MANIFEST_UNKNOWN"]


def test_end_3_unknown_repository_is_404(client: Client) -> None:
    answer = client.ask("GET", "/v2/never/pushed/manifests/latest")
    assert (answer.status, answer.codes) == (404, ["NAME_UNKNOWN"])


def test_end_3_what_is_no_digest_is_400(client: Client, name: str) -> None:
    assert client.ask("GET", f"/v2/{name}/manifests/sha256:baddigeststring").codes == ["DIGEST_INVALID"]


@pytest.mark.parametrize("accept", ["*/*", INDEX, "application/json", MANIFEST, "text/html;q=0.5"])
def test_end_3_accept_never_hides_or_changes_a_manifest(client: Client, name: str, accept: str) -> None:
    """ "A GET request to an existing manifest URL MUST provide the expected manifest": there is one form."""
    data = client.push_image(name, "latest")
    answer = client.ask("GET", f"/v2/{name}/manifests/latest", headers={"Accept": accept})
    assert (answer.status, answer.body, answer.headers["content-type"]) == (200, data, MANIFEST)


def test_end_3_content_type_is_what_was_pushed_without_parameters(client: Client, name: str) -> None:
    client.push_image(name, "other")
    document = image(b"{}", [b"a layer"])
    del document["mediaType"]
    kind = "application/vnd.docker.distribution.manifest.v2+json"
    answer = client.ask(
        *("PUT", f"/v2/{name}/manifests/typed", json.dumps(document).encode()),
        {"Content-Type": f"{kind}; charset=utf-8"},
    )
    assert answer.status == 201
    assert client.ask("GET", f"/v2/{name}/manifests/typed").headers["content-type"] == kind


def test_end_3_index(client: Client, name: str) -> None:
    data = client.push_image(name, "one")
    index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [descriptor(MANIFEST, data)]}
    assert client.put_manifest(name, "all", index).status == 201
    answer = client.ask("GET", f"/v2/{name}/manifests/all", headers={"Accept": MANIFEST})
    assert (answer.headers["content-type"], answer.json) == (INDEX, index)


def test_end_3_manifest_that_the_client_has_is_304(client: Client, name: str) -> None:
    data = client.push_image(name, "latest")
    path = f"/v2/{name}/manifests/latest"
    answer = client.ask("GET", path, headers={"If-None-Match": f'"{digest(data)}"'})
    assert (answer.status, answer.body) == (304, b"")
    assert client.ask("GET", path).headers["cache-control"] == "no-cache"


def test_the_parameter_ns_of_a_proxys_clients_changes_nothing(client: Client, name: str) -> None:
    data = client.push_image(name, "latest")
    answer = client.ask("GET", f"/v2/{name}/manifests/latest?ns=docker.io")
    assert (answer.status, answer.body) == (200, data)
    assert "oci-namespace" not in answer.headers


def test_a_blob_of_the_store_is_not_seen_through_a_repository_that_does_not_link_it(
    client: Client, name: str
) -> None:
    """It is there for another repository, so its bytes lie in the same store."""
    blob = client.push_blob(f"{name}/a", b"shared bytes")
    answer = client.ask("HEAD", f"/v2/{name}/b/blobs/{blob}")
    assert answer.status == 404
    client.push_blob(f"{name}/b", b"shared bytes")
    assert client.ask("GET", f"/v2/{name}/b/blobs/{blob}").body == b"shared bytes"
