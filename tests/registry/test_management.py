"""distribution-spec 1.1, "Content Management": end-9, end-10; and names, methods, errors."""

from __future__ import annotations

import json

import pytest

from tests.registry.support import MANIFEST, Client, descriptor, digest, image


def test_end_9_deleting_a_tag_leaves_the_manifest(client: Client, name: str) -> None:
    data = client.push_image(name, "one")
    client.push_image(name, "two")
    assert client.ask("DELETE", f"/v2/{name}/manifests/one").status == 202
    assert client.ask("GET", f"/v2/{name}/manifests/one").status == 404
    assert client.ask("GET", f"/v2/{name}/manifests/{digest(data)}").status == 200
    assert client.ask("GET", f"/v2/{name}/tags/list").json["tags"] == ["two"]
    assert client.ask("DELETE", f"/v2/{name}/manifests/one").codes == ["MANIFEST_UNKNOWN"]


def test_end_9_deleting_a_manifest_takes_its_tags(client: Client, name: str) -> None:
    data = client.push_image(name, "one")
    client.push_image(name, "two")
    client.push_image(name, "other", b"other content")
    assert client.ask("DELETE", f"/v2/{name}/manifests/{digest(data)}").status == 202
    for reference in ("one", "two", digest(data)):
        assert client.ask("GET", f"/v2/{name}/manifests/{reference}").status == 404
    assert client.ask("GET", f"/v2/{name}/tags/list").json["tags"] == ["other"]


@pytest.mark.parametrize("reference", ["latest", digest(b"absent")])
def test_end_9_unknown_repository_is_404(client: Client, reference: str) -> None:
    answer = client.ask("DELETE", f"/v2/never/pushed/manifests/{reference}")
    assert (answer.status, answer.codes) == (404, ["NAME_UNKNOWN"])


def test_end_9_deleted_referrer_is_listed_no_more(client: Client, name: str) -> None:
    client.push_blob(name, b"{}")
    document = {**image(b"{}", []), "subject": descriptor(MANIFEST, b"s")}
    client.put_manifest(name, "t", document)
    own = digest(json.dumps(document).encode())
    assert client.ask("DELETE", f"/v2/{name}/manifests/{own}").status == 202
    assert client.ask("GET", f"/v2/{name}/referrers/{digest(b's')}").json["manifests"] == []


def test_end_10_deleting_a_blob(client: Client, name: str) -> None:
    blob = client.push_blob(name, b"to go")
    assert client.ask("DELETE", f"/v2/{name}/blobs/{blob}").status == 202
    assert client.ask("GET", f"/v2/{name}/blobs/{blob}").status == 404
    answer = client.ask("DELETE", f"/v2/{name}/blobs/{blob}")
    assert (answer.status, answer.codes) == (404, ["BLOB_UNKNOWN"])


def test_end_10_other_repositories_keep_it(client: Client, name: str) -> None:
    blob = client.push_blob(f"{name}/a", b"shared")
    client.push_blob(f"{name}/b", b"shared")
    assert client.ask("DELETE", f"/v2/{name}/a/blobs/{blob}").status == 202
    assert client.ask("GET", f"/v2/{name}/b/blobs/{blob}").body == b"shared"


@pytest.mark.parametrize(
    "wrong",
    [
        *("Upper", "a//b", "-a", "a-", "a..b", "a._b", "a___b", "%2e%2e", "a/../b", "a/./b", "a b"),
        *("a%00b", "ä", "a/", "/a", "a:b", "x" * 256, "%ff", "a%0d%0ab", "%252e", "a\\b"),
    ],
)
def test_name_that_is_none_is_400(client: Client, wrong: str) -> None:
    wrong = wrong.replace(" ", "%20").replace("ä", "%C3%A4")
    for path in ("tags/list", "manifests/latest", f"blobs/{digest(b'x')}", f"referrers/{digest(b'x')}"):
        answer = client.ask("GET", f"/v2/{wrong}/{path}")
        assert (answer.status, answer.codes) == (400, ["NAME_INVALID"])
    assert client.ask("POST", f"/v2/{wrong}/blobs/uploads/", b"").codes == ["NAME_INVALID"]


@pytest.mark.parametrize(
    "good", ["a", "0", "a.b", "a_b", "a__b", "a-b", "a---b", "a/b/c", "x" * 255, "blobs", "a/blobs/manifests"]
)
def test_names_that_are_good(client: Client, good: str) -> None:
    data = client.push_image(good, "latest")
    assert client.ask("GET", f"/v2/{good}/manifests/latest").body == data
    assert client.ask("GET", f"/v2/{good}/tags/list").json["tags"] == ["latest"]
    assert client.ask("GET", client.begin(good)).status == 204


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        *(("POST", "/v2/", "GET"), ("DELETE", "/v2/_catalog", "GET"), ("PUT", "/v2/a/tags/list", "GET")),
        ("POST", "/v2/a/manifests/t", "GET, HEAD, PUT, DELETE"),
        ("PUT", f"/v2/a/blobs/{digest(b'x')}", "GET, HEAD, DELETE"),
        ("GET", "/v2/a/blobs/uploads/", "POST"),
        ("POST", "/v2/a/blobs/uploads/11111111-2222-3333-4444-555555555555", "GET, HEAD, PATCH, PUT, DELETE"),
        ("DELETE", f"/v2/a/referrers/{digest(b'x')}", "GET"),
        ("OPTIONS", "/v2/", "GET"),
    ],
)
def test_other_methods_are_405_and_what_is_allowed_is_said(
    client: Client, method: str, path: str, allowed: str
) -> None:
    answer = client.ask(method, path, b"" if method in ("POST", "PUT") else None)
    assert (answer.status, answer.codes) == (405, ["UNSUPPORTED"])
    assert answer.headers["allow"].startswith(allowed)


@pytest.mark.parametrize("path", ["/", "/v1/", "/v2/a", "/v2/a/other/x", "/favicon.ico", "//v2/", "/v2x/"])
def test_other_pages_are_404(client: Client, path: str) -> None:
    assert client.ask("GET", path).status == 404


def test_errors_are_json_of_the_specified_form(client: Client) -> None:
    answer = client.ask("GET", "/v2/never/pushed/tags/list")
    assert answer.headers["content-type"] == "application/json"
    for error in answer.json["errors"]:
        assert set(error) <= {"code", "message", "detail"}
        assert error["code"].replace("_", "").isalpha()
        assert error["code"].isupper()
        assert isinstance(error["message"], str)
