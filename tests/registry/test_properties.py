"""Whatever a client writes: a route is of the specification's characters, a part lies within its blob."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orlop.kit import limits
from orlop.kit.node import Node
from orlop.registry.errors import Refused
from orlop.registry.names import is_tag, is_upload, route
from orlop.registry.ranges import chunk, wanted
from orlop.registry.upload_files import Uploads
from orlop.store.layout import Layout
from orlop.store.store import Store
from tests.registry.support import digest, temporary_root

_NAME = re.compile(r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*")
_WORDS = (
    "a",
    "..",
    ".",
    "",
    "blobs",
    "uploads",
    "manifests",
    "tags",
    "list",
    "referrers",
    "_catalog",
    "v2",
    "%2e%2e",
)
_PART = st.one_of(st.sampled_from(_WORDS), st.text(max_size=8), st.text("a._-/%2eF0", max_size=12))


@given(st.lists(_PART, max_size=8), st.text(max_size=20))
def test_routes_are_clean_or_refused(parts: list[str], query: str) -> None:
    try:
        found = route("/v2/" + "/".join(parts) + "?" + query)
    except Refused as why:
        assert 400 <= why.status.value < 500
        return
    if found.kind in ("base", "catalog"):
        assert found.repository == ""
    else:
        assert _NAME.fullmatch(found.repository)
        assert len(found.repository) <= limits.REGISTRY_NAME


@given(st.text(max_size=40))
def test_what_is_a_tag_or_an_upload_has_no_way_out(text: str) -> None:
    if is_tag(text) or is_upload(text):
        assert "/" not in text
        assert "\0" not in text
        assert not text.startswith(".")


@given(st.one_of(st.text(max_size=30), st.from_regex(r"bytes=\d{0,20}-\d{0,20}")), st.integers(0, 10**12))
def test_a_part_lies_within_its_blob(header: str, size: int) -> None:
    try:
        part = wanted(header, size)
    except Refused as why:
        assert why.status.value == 416
        return
    if part is not None:
        assert 0 <= part.offset < part.offset + part.size <= size


@given(st.one_of(st.text(max_size=30), st.from_regex(r"\d{0,20}-\d{0,20}")))
def test_a_chunk_has_bytes(header: str) -> None:
    try:
        part = chunk(header)
    except Refused as why:
        assert why.status.value == 400
        return
    assert part is None or (part.offset >= 0 and part.size > 0)


@given(st.lists(st.binary(max_size=50), max_size=8), st.booleans(), st.sampled_from(["sha256", "sha512"]))
def test_an_uploads_digest_is_that_of_its_bytes_however_they_came(
    pieces: list[bytes], remembered: bool, algorithm: str
) -> None:
    with temporary_root() as node:
        store = Store(node)
        uploads = Uploads(store.layout, store.repositories)
        identity = uploads.start("a", "sha256")
        for piece in pieces:
            if not remembered:  # as another process would have it
                uploads = Uploads(store.layout, store.repositories)
            upload = uploads.hold("a", identity)
            upload.append([piece])
            uploads.release(upload)
        upload = uploads.hold("a", identity)
        data = b"".join(pieces)
        assert upload.size == len(data)
        assert upload.digest(algorithm) == digest(data, algorithm)
        uploads.discard(upload)
        store.close()


def test_a_file_that_changed_since_is_read_again() -> None:
    """Two processes, one upload: what the first computed must not stand for what the second put there."""
    with temporary_root() as node:
        store = Store(node)
        first, second = (Uploads(store.layout, store.repositories) for _ in range(2))
        identity = first.start("a", "sha256")
        upload = first.hold("a", identity)
        upload.append([b"claimed"])
        first.release(upload)
        upload = second.hold("a", identity)
        upload.cut(0)
        upload.append([b"changed"])
        second.release(upload)
        upload = first.hold("a", identity)
        assert upload.digest("sha256") == digest(b"changed")
        first.discard(upload)


@pytest.mark.parametrize("name", ["a", "a/b"])
def test_uploads_of_repositories_are_apart(name: str) -> None:
    layout = Layout(Node("/r", "/s", "/c"))
    assert layout.uploads == "/r/uploads"
    with temporary_root() as node:
        store = Store(node)
        uploads = Uploads(store.layout, store.repositories)
        identity = uploads.start(name, "sha256")
        assert uploads.size(name, identity) == 0
        with pytest.raises(Refused):
            uploads.size(f"{name}x", identity)
