"""distribution-spec 1.1, "Push": end-4, end-5, end-6, end-11, end-13, end-14, a sentence each."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.registry.support import Client, digest

_DATA = bytes(range(251)) * 40
_PARTS = (_DATA[:4000], _DATA[4000:8000], _DATA[8000:])
_UUID = re.compile(r"[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}$")


def _read(client: Client, name: str, data: bytes, algorithm: str = "sha256") -> None:
    answer = client.ask("GET", f"/v2/{name}/blobs/{digest(data, algorithm)}")
    assert (answer.status, answer.body) == (200, data)


def test_end_4a_post_gives_a_location_with_a_uuid(client: Client, name: str) -> None:
    answer = client.ask("POST", f"/v2/{name}/blobs/uploads/", b"")
    assert answer.status == 202
    assert _UUID.search(answer.headers["location"])
    assert answer.headers["range"] == "0-0"


def test_end_4a_no_minimum_chunk_length_is_demanded(client: Client, name: str) -> None:
    assert "oci-chunk-min-length" not in client.ask("POST", f"/v2/{name}/blobs/uploads/", b"").headers


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_end_4b_single_post_creates_the_blob(client: Client, name: str, algorithm: str) -> None:
    blob = digest(_DATA, algorithm)
    answer = client.ask("POST", f"/v2/{name}/blobs/uploads/?digest={blob}", _DATA)
    assert answer.status == 201
    assert answer.headers["docker-content-digest"] == blob
    assert client.ask("GET", answer.headers["location"]).body == _DATA


def test_end_4b_single_post_with_a_wrong_digest_is_400(client: Client, name: str) -> None:
    wrong = digest(b"something else")
    answer = client.ask("POST", f"/v2/{name}/blobs/uploads/?digest={wrong}", _DATA)
    assert (answer.status, answer.codes) == (400, ["DIGEST_INVALID"])
    assert client.ask("GET", f"/v2/{name}/blobs/{wrong}").status == 404


@pytest.mark.parametrize(
    "query", ["digest=sha256:abc", "digest=md5:0123", "digest=", "mount=sha256:1&from=a"]
)
def test_end_4b_invalid_or_unsupported_digest_is_400(client: Client, name: str, query: str) -> None:
    answer = client.ask("POST", f"/v2/{name}/blobs/uploads/?{query}", _DATA)
    assert (answer.status, answer.codes) == (400, ["DIGEST_INVALID"])


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_end_4c_digest_algorithm_may_be_said(client: Client, name: str, algorithm: str) -> None:
    where = client.begin(name, f"?digest-algorithm={algorithm}")
    assert client.ask("PATCH", where, _DATA).status == 202
    assert client.ask("PUT", f"{where}?digest={digest(_DATA, algorithm)}", b"").status == 201
    _read(client, name, _DATA, algorithm)


def test_end_4c_algorithm_that_was_not_said_may_be_used_all_the_same(client: Client, name: str) -> None:
    where = client.begin(name)
    assert client.ask("PATCH", where, _DATA).status == 202
    assert client.ask("PUT", f"{where}?digest={digest(_DATA, 'sha512')}", b"").status == 201
    _read(client, name, _DATA, "sha512")


def test_end_4c_unknown_algorithm_is_400(client: Client, name: str) -> None:
    answer = client.ask("POST", f"/v2/{name}/blobs/uploads/?digest-algorithm=md5", b"")
    assert (answer.status, answer.codes) == (400, ["DIGEST_INVALID"])


def test_end_5_chunks_in_order_are_taken(client: Client, name: str) -> None:
    where, sent = client.begin(name), 0
    for part in _PARTS:
        answer = client.ask("PATCH", where, part, {"Content-Range": f"{sent}-{sent + len(part) - 1}"})
        sent += len(part)
        assert answer.status == 202
        assert answer.headers["range"] == f"0-{sent - 1}"
        where = answer.headers["location"]
    answer = client.ask("PUT", f"{where}?digest={digest(_DATA)}", b"")
    assert answer.status == 201
    assert client.ask("GET", answer.headers["location"]).body == _DATA


@pytest.mark.parametrize("method", ["PATCH", "PUT"])
@pytest.mark.parametrize("first", [0, 3999, 4001, 8000])
def test_end_5_end_6_chunk_out_of_order_is_416(client: Client, name: str, method: str, first: int) -> None:
    where = client.begin(name)
    assert client.ask("PATCH", where, _PARTS[0], {"Content-Range": "0-3999"}).status == 202
    path = where if method == "PATCH" else f"{where}?digest={digest(_DATA)}"
    answer = client.ask(method, path, _PARTS[1], {"Content-Range": f"{first}-{first + 3999}"})
    assert answer.status == 416
    assert answer.headers["range"] == "0-3999"
    status = client.ask("GET", where)
    assert (status.status, status.headers["range"]) == (204, "0-3999")
    rest = _DATA[4000:]
    path = f"{status.headers['location']}?digest={digest(_DATA)}"
    answer = client.ask("PUT", path, rest, {"Content-Range": f"4000-{len(_DATA) - 1}"})
    assert answer.status == 201
    _read(client, name, _DATA)


def test_end_5_first_chunk_must_begin_with_0(client: Client, name: str) -> None:
    where = client.begin(name)
    assert client.ask("PATCH", where, _PARTS[1], {"Content-Range": "4000-7999"}).status == 416


@pytest.mark.parametrize("header", ["0", "a-b", "5-3", "bytes 0-3999/*", "0-3999-5", "-5"])
def test_end_5_content_range_must_be_two_numbers(client: Client, name: str, header: str) -> None:
    answer = client.ask("PATCH", client.begin(name), _PARTS[0], {"Content-Range": header})
    assert (answer.status, answer.codes) == (400, ["BLOB_UPLOAD_INVALID"])


def test_end_5_content_range_must_be_as_long_as_the_body(client: Client, name: str) -> None:
    where = client.begin(name)
    answer = client.ask("PATCH", where, _PARTS[0], {"Content-Range": "0-99"})
    assert (answer.status, answer.codes) == (400, ["SIZE_INVALID"])
    answer = client.ask("PATCH", where, iter([_PARTS[0]]), {"Content-Range": "0-99"})
    assert (answer.status, answer.codes) == (400, ["SIZE_INVALID"])
    assert client.ask("GET", where).headers["range"] == "0-0"
    assert client.ask("PATCH", where, _PARTS[0], {"Content-Range": "0-3999"}).status == 202


def test_end_5_stream_without_content_range_in_transfer_chunks(client: Client, name: str) -> None:
    def pieces() -> Iterator[bytes]:
        for first in range(0, len(_DATA), 777):
            yield _DATA[first : first + 777]

    where = client.begin(name)
    answer = client.ask("PATCH", where, pieces())
    assert (answer.status, answer.headers["range"]) == (202, f"0-{len(_DATA) - 1}")
    assert client.ask("PUT", f"{where}?digest={digest(_DATA)}", b"").status == 201
    _read(client, name, _DATA)


@pytest.mark.parametrize("method", ["PATCH", "PUT", "GET", "DELETE"])
def test_end_5_6_13_14_unknown_upload_is_404(client: Client, name: str, method: str) -> None:
    for identity in ("11111111-2222-3333-4444-555555555555", "no-uuid", "..%2f..%2fstore.db"):
        path = f"/v2/{name}/blobs/uploads/{identity}?digest={digest(_DATA)}"
        answer = client.ask(method, path, _DATA if method in ("PATCH", "PUT") else None)
        assert (answer.status, answer.codes) == (404, ["BLOB_UPLOAD_UNKNOWN"])


def test_an_upload_belongs_to_its_repository(client: Client, name: str) -> None:
    where = client.begin(f"{name}/a")
    foreign = where.replace(f"{name}/a", f"{name}/b")
    assert client.ask("PATCH", foreign, _DATA).codes == ["BLOB_UPLOAD_UNKNOWN"]
    assert client.ask("GET", where).status == 204


def test_end_6_post_then_put(client: Client, name: str) -> None:
    where = client.begin(name)
    headers = {"Content-Type": "application/octet-stream"}
    answer = client.ask("PUT", f"{where}?digest={digest(_DATA)}", _DATA, headers)
    assert answer.status == 201
    assert answer.headers["location"] == f"/v2/{name}/blobs/{digest(_DATA)}"
    _read(client, name, _DATA)


def test_end_6_last_chunk_may_come_with_the_put(client: Client, name: str) -> None:
    where = client.begin(name)
    client.ask("PATCH", where, _PARTS[0], {"Content-Range": "0-3999"})
    client.ask("PATCH", where, _PARTS[1], {"Content-Range": "4000-7999"})
    headers = {"Content-Range": f"8000-{len(_DATA) - 1}"}
    assert client.ask("PUT", f"{where}?digest={digest(_DATA)}", _PARTS[2], headers).status == 201
    _read(client, name, _DATA)


def test_end_6_put_must_say_the_digest(client: Client, name: str) -> None:
    answer = client.ask("PUT", client.begin(name), _DATA)
    assert (answer.status, answer.codes) == (400, ["DIGEST_INVALID"])


@pytest.mark.parametrize("wrong", [digest(b"else"), digest(b"else", "sha512"), "sha256:1", "md5:1"])
def test_end_6_wrong_digest_is_400_and_nothing_is_there(client: Client, name: str, wrong: str) -> None:
    where = client.begin(name)
    client.ask("PATCH", where, _DATA)
    answer = client.ask("PUT", f"{where}?digest={wrong}", b"")
    assert (answer.status, answer.codes) == (400, ["DIGEST_INVALID"])
    assert client.ask("GET", f"/v2/{name}/blobs/{digest(_DATA)}").status == 404


def test_end_6_a_finished_upload_is_gone(client: Client, name: str) -> None:
    where = client.begin(name)
    client.ask("PUT", f"{where}?digest={digest(_DATA)}", _DATA)
    assert client.ask("GET", where).status == 404


def test_end_11_mount_from_another_repository(client: Client, name: str) -> None:
    blob = client.push_blob(f"{name}/a", _DATA)
    answer = client.ask("POST", f"/v2/{name}/b/blobs/uploads/?mount={blob}&from={name}/a", b"")
    assert answer.status == 201
    assert answer.headers["location"] == f"/v2/{name}/b/blobs/{blob}"
    assert answer.headers["docker-content-digest"] == blob
    _read(client, f"{name}/b", _DATA)


def test_end_11_mount_without_from_finds_it(client: Client, name: str) -> None:
    data = name.encode()
    blob = client.push_blob(f"{name}/a", data)
    answer = client.ask("POST", f"/v2/{name}/b/blobs/uploads/?mount={blob}", b"")
    assert answer.status == 201
    _read(client, f"{name}/b", data)


@pytest.mark.parametrize("query", ["", "&from=t/no/such/repository", "&from=UPPER", "&from=.."])
def test_end_11_mount_of_what_is_not_there_begins_an_upload(client: Client, name: str, query: str) -> None:
    data = f"{name}{query}".encode()
    answer = client.ask("POST", f"/v2/{name}/blobs/uploads/?mount={digest(data)}{query}", b"")
    assert answer.status == 202
    assert client.ask("PUT", f"{answer.headers['location']}?digest={digest(data)}", data).status == 201


def test_end_11_source_must_have_the_blob_itself(client: Client, name: str) -> None:
    blob = client.push_blob(f"{name}/a", _DATA)
    client.push_blob(f"{name}/c", b"something else")
    path = f"/v2/{name}/b/blobs/uploads/?mount={blob}&from={name}/c"
    assert client.ask("POST", path, b"").status == 202
    assert client.ask("HEAD", f"/v2/{name}/b/blobs/{blob}").status == 404


def test_end_13_status_says_how_far_it_is(client: Client, name: str) -> None:
    where = client.begin(name)
    assert client.ask("GET", where).headers["range"] == "0-0"
    client.ask("PATCH", where, _PARTS[0])
    answer = client.ask("GET", where)
    assert (answer.status, answer.body) == (204, b"")
    assert answer.headers["range"] == "0-3999"
    assert answer.headers["location"] == where


def test_end_14_cancelled_upload_is_gone(client: Client, name: str) -> None:
    where = client.begin(name)
    client.ask("PATCH", where, _PARTS[0])
    assert client.ask("DELETE", where).status == 204
    assert client.ask("GET", where).status == 404
    assert client.ask("PATCH", where, _PARTS[1]).status == 404


def test_a_blob_that_is_there_may_be_sent_again(client: Client, name: str) -> None:
    for _ in range(2):
        client.push_blob(name, _DATA)
    _read(client, name, _DATA)


def test_uploads_may_be_begun_without_the_last_slash(client: Client, name: str) -> None:
    assert client.ask("POST", f"/v2/{name}/blobs/uploads", b"").status == 202
