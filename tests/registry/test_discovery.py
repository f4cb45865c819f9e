"""distribution-spec 1.1, "Content Discovery": end-8, end-12, and Docker's catalogue."""

from __future__ import annotations

import json
import re
import urllib.parse

import pytest

from tests.registry.support import EMPTY, INDEX, MANIFEST, Client, descriptor, digest, serving

_TAGS = ["10", "1.0", "A", "Z", "_x", "a", "b-1", "b.1", "latest", "z"]
_BYTE_ORDER = sorted(_TAGS, key=str.encode)


def _next(link: str) -> str:
    found = re.fullmatch(r'<([^>]+)>; rel="next"', link)
    assert found, link
    return found[1]


@pytest.fixture
def tagged(client: Client, name: str) -> str:
    data = client.push_image(name, "latest")
    query = "&".join(f"tag={tag}" for tag in _TAGS)
    path = f"/v2/{name}/manifests/{digest(data)}?{query}"
    assert client.ask("PUT", path, data, {"Content-Type": MANIFEST}).status == 201
    return name


def test_end_8a_tags_in_the_order_of_their_bytes(client: Client, tagged: str) -> None:
    answer = client.ask("GET", f"/v2/{tagged}/tags/list")
    assert answer.status == 200
    assert answer.json == {"name": tagged, "tags": _BYTE_ORDER}
    assert "link" not in answer.headers


def test_end_8a_unknown_repository_is_404(client: Client) -> None:
    answer = client.ask("GET", "/v2/never/pushed/tags/list")
    assert (answer.status, answer.codes) == (404, ["NAME_UNKNOWN"])


def test_end_8a_repository_without_tags(client: Client, name: str) -> None:
    client.push_blob(name, b"{}")
    assert client.ask("GET", f"/v2/{name}/tags/list").json == {"name": name, "tags": []}


@pytest.mark.parametrize("count", [1, 3, 9])
def test_end_8b_n_and_link_lead_through_all(client: Client, tagged: str, count: int) -> None:
    path = f"/v2/{tagged}/tags/list?n={count}"
    found: list[str] = []
    while path:
        answer = client.ask("GET", path)
        page = answer.json["tags"]
        assert len(page) == min(count, len(_TAGS) - len(found))
        found += page
        path = _next(answer.headers["link"]) if "link" in answer.headers else ""
    assert found == _BYTE_ORDER


def test_end_8b_n_of_all_or_more_has_no_link(client: Client, tagged: str) -> None:
    for count in (len(_TAGS), 1000, 10**30):
        answer = client.ask("GET", f"/v2/{tagged}/tags/list?n={count}")
        assert answer.json["tags"] == _BYTE_ORDER
        assert "link" not in answer.headers


def test_end_8b_n_of_0_is_an_empty_list_without_link(client: Client, tagged: str) -> None:
    answer = client.ask("GET", f"/v2/{tagged}/tags/list?n=0")
    assert (answer.status, answer.json["tags"]) == (200, [])
    assert "link" not in answer.headers


@pytest.mark.parametrize("last", ["A", "B", "b", "zz", ""])
def test_end_8b_last_is_not_included(client: Client, tagged: str, last: str) -> None:
    answer = client.ask("GET", f"/v2/{tagged}/tags/list?last={last}")
    assert answer.json["tags"] == [tag for tag in _BYTE_ORDER if tag > last]
    answer = client.ask("GET", f"/v2/{tagged}/tags/list?n=2&last={last}")
    assert answer.json["tags"] == [tag for tag in _BYTE_ORDER if tag > last][:2]


@pytest.mark.parametrize("count", ["-1", "x", "", "1.5", "%D9%A3"])
def test_end_8b_n_that_is_no_number_is_400(client: Client, tagged: str, count: str) -> None:
    assert client.ask("GET", f"/v2/{tagged}/tags/list?n={count}").status == 400


def _refer(client: Client, name: str, subject: bytes, **fields: object) -> dict[str, object]:
    """A manifest that refers to `subject`; returns the descriptor that referrers should have of it."""
    client.push_blob(name, b"{}")
    document = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": descriptor(EMPTY, b"{}"),
        "layers": [],
        "subject": descriptor(MANIFEST, subject),
        **fields,
    }
    answer = client.put_manifest(name, digest(json.dumps(document).encode()), document)
    assert answer.headers["oci-subject"] == digest(subject)
    data = json.dumps(document).encode()
    return {"mediaType": MANIFEST, "digest": digest(data), "size": len(data)}


def _listed(client: Client, name: str, subject: bytes, query: str = "") -> list[dict[str, object]]:
    answer = client.ask("GET", f"/v2/{name}/referrers/{digest(subject)}{query}")
    assert answer.status == 200
    assert answer.headers["content-type"] == INDEX
    assert (answer.json["schemaVersion"], answer.json["mediaType"]) == (2, INDEX)
    found: list[dict[str, object]] = answer.json["manifests"]
    return found


def test_end_12a_referrers_have_type_and_annotations(client: Client, name: str) -> None:
    subject = client.push_image(name, "latest")
    notes = {"org.example": "note"}
    typed = _refer(client, name, subject, artifactType="application/vnd.a", annotations=notes)
    plain = _refer(client, name, subject)
    found = {str(entry["digest"]): entry for entry in _listed(client, name, subject)}
    assert found == {
        typed["digest"]: {**typed, "artifactType": "application/vnd.a", "annotations": notes},
        plain["digest"]: {**plain, "artifactType": EMPTY},  # its config's media type
    }


def test_end_12a_index_without_a_type_has_none(client: Client, name: str) -> None:
    index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [], "subject": descriptor(MANIFEST, b"s")}
    client.put_manifest(name, "index", index)
    (entry,) = _listed(client, name, b"s")
    assert (entry["mediaType"], "artifactType" in entry) == (INDEX, False)
    typed = {**index, "artifactType": "application/vnd.b"}
    client.put_manifest(name, "typed", typed)
    found = _listed(client, name, b"s", "?artifactType=application/vnd.b")
    assert [entry["artifactType"] for entry in found] == ["application/vnd.b"]


def test_end_12a_referrers_of_what_is_to_come(client: Client, name: str) -> None:
    entry = _refer(client, name, b"to come")
    assert [found["digest"] for found in _listed(client, name, b"to come")] == [entry["digest"]]


def test_end_12a_nothing_refers_is_an_empty_index(client: Client, name: str) -> None:
    client.push_image(name, "latest")
    assert _listed(client, name, b"unknown") == []


def test_end_12a_never_404_also_of_an_unknown_repository(client: Client) -> None:
    assert _listed(client, "never/pushed", b"unknown") == []


def test_end_12a_referrers_of_another_repository_do_not_count(client: Client, name: str) -> None:
    _refer(client, f"{name}/a", b"s")
    assert _listed(client, f"{name}/b", b"s") == []


def test_referrers_that_a_client_listed_by_tag_are_listed_here_too(client: Client, name: str) -> None:
    """ "Enabling the Referrers API": what an index at the referrers tag lists, and has a subject."""
    entry = _refer(client, name, b"s")
    index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]}
    assert client.put_manifest(name, digest(b"s").replace(":", "-"), index).status == 201
    assert [found["digest"] for found in _listed(client, name, b"s")] == [entry["digest"]]


@pytest.mark.parametrize("wrong", ["sha256:1", "latest", "md5:00"])
def test_end_12a_what_is_no_digest_is_400(client: Client, name: str, wrong: str) -> None:
    answer = client.ask("GET", f"/v2/{name}/referrers/{wrong}")
    assert (answer.status, answer.codes) == (400, ["DIGEST_INVALID"])


def test_end_12b_filter_is_applied_and_said(client: Client, name: str) -> None:
    for kind in ("application/vnd.a+json", "application/vnd.b"):
        _refer(client, name, b"s", artifactType=kind)
    for kind in ("application/vnd.a+json", "application/vnd.b", "application/vnd.none"):
        query = f"?artifactType={urllib.parse.quote_plus(kind)}"
        answer = client.ask("GET", f"/v2/{name}/referrers/{digest(b's')}{query}")
        assert answer.headers["oci-filters-applied"] == "artifactType"
        kinds = [entry["artifactType"] for entry in answer.json["manifests"]]
        assert kinds == ([] if kind.endswith("none") else [kind])
    answer = client.ask("GET", f"/v2/{name}/referrers/{digest(b's')}")
    assert "oci-filters-applied" not in answer.headers


def test_end_12a_a_long_list_comes_in_pages(client: Client, name: str) -> None:
    """Clients take an index of 4 MiB at most."""
    for number in range(5):
        _refer(client, name, b"s", annotations={"n": str(number), "long": "x" * 1_000_000})
    path, found, pages = f"/v2/{name}/referrers/{digest(b's')}?artifactType={EMPTY}", [], 0
    while path:
        answer = client.ask("GET", path)
        assert len(answer.body) <= 4 * 1024 * 1024
        assert answer.headers["oci-filters-applied"] == "artifactType"
        found += [entry["annotations"]["n"] for entry in answer.json["manifests"]]
        path = _next(answer.headers["link"]) if "link" in answer.headers else ""
        pages += 1
    assert sorted(found) == ["0", "1", "2", "3", "4"]
    assert pages > 1


def test_catalog_lists_repositories_in_pages() -> None:
    names = ["a/b", "a0", "b", "c/d/e", "z"]
    with serving() as running:
        client = running.client()
        assert client.ask("GET", "/v2/_catalog").json == {"repositories": []}
        for name in reversed(names):
            client.push_blob(name, b"x")
        assert client.ask("GET", "/v2/_catalog").json == {"repositories": names}
        path, found = "/v2/_catalog?n=2", []
        while path:
            answer = client.ask("GET", path)
            found += answer.json["repositories"]
            path = _next(answer.headers["link"]) if "link" in answer.headers else ""
        assert found == names
        client.close()
