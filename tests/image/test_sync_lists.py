"""Lists of images and constraints of versions, without a registry."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orlop.image.sync.listed import parse
from orlop.image.sync.semver import Constraint, Version
from orlop.kit.errors import InvalidInput, OrlopError


@pytest.mark.parametrize(
    ("constraint", "holds", "not_"),
    [
        (">= 3.12.0", "3.12.0 3.13 v4 3.12.1 4", "3.11.9 3 latest 3.13-alpine"),
        ("> 1.2", "1.3 2", "1.2 1.2.9"),
        ("<= 1.2", "1.2 1.2.9 0.1", "1.3"),
        ("< 1.2", "1.1.9", "1.2.0 1.2-rc1"),
        ("= 1.2.3", "1.2.3 v1.2.3", "1.2.4 1.2.3-rc1"),
        ("1.2", "1.2.0 1.2.9", "1.3"),
        ("1.x", "1.0 1.9.9", "2.0"),
        ("*", "0.0.1 9", "latest 1-rc"),
        ("^1.2.3", "1.2.3 1.9", "1.2.2 2.0"),
        ("^0.2.3", "0.2.3 0.2.9", "0.3.0 0.2.2"),
        ("^0.0.3", "0.0.3", "0.0.4"),
        ("^0", "0.9.9", "1.0"),
        ("~1.2.3", "1.2.3 1.2.9", "1.3 1.2.2"),
        ("~1.2", "1.2.9", "1.3"),
        ("~1", "1.9", "2.0"),
        ("1.2 - 1.4.5", "1.2 1.4.5", "1.1 1.4.6"),
        (">=1, <2 || >=3", "1.5 3 4", "2.5 0.9"),
        (">=1 <2", "1.5", "2"),
        ("!= 1.2.3", "1.2.4", "1.2.3"),
        (">= 1.2.3-beta.2", "1.2.3-beta.11 1.2.3-rc 1.2.3", "1.2.3-beta.1 1.2.3-alpha"),
    ],
)
def test_constraints_hold_as_masterminds_has_them(constraint: str, holds: str, not_: str) -> None:
    found = Constraint(constraint)
    assert [tag for tag in holds.split() if not found.holds(tag)] == []
    assert [tag for tag in not_.split() if found.holds(tag)] == []


@pytest.mark.parametrize("text", ["", "latest", ">=", "1.2.3.4", "||", ">= 1 ||", "=> x y", "^"])
def test_what_is_no_constraint(text: str) -> None:
    with pytest.raises(InvalidInput):
        Constraint(text)


def test_versions_are_ordered_as_the_specification_says() -> None:
    texts = (
        "1.0.0-alpha 1.0.0-alpha.1 1.0.0-alpha.beta 1.0.0-beta 1.0.0-beta.2 1.0.0-beta.11 1.0.0-rc.1 1.0.0"
    )
    versions = [Version.parse(text) for text in texts.split()]
    assert None not in versions
    known = [version for version in versions if version]
    for lower, higher in itertools.pairwise(known):
        assert lower < higher
        assert not higher < lower


@given(st.text(max_size=80))
def test_no_text_is_an_accident(text: str) -> None:
    try:
        Constraint(text).holds(text)
        parse(text.encode("utf-8", "surrogatepass"), "list")
    except OrlopError:
        pass


def test_a_list_is_read_as_skopeo_writes_it() -> None:
    found = parse(
        b"registry.example.com:\n"
        b"    images:\n"
        b"        busybox: []\n"
        b"        empty:\n"
        b"        redis:\n"
        b"            - 1.10\n"
        b'            - "2.0"\n'
        b"            - true\n"
        b"    credentials:\n"
        b"        username: john\n"
        b"        password: this is a secret\n"
        b"    tls-verify: true\n"
        b"    cert-dir: /home/john/certs\n"
        b"quay.io:\n"
        b"    tls-verify: false\n"
        b"    images-by-tag-regex:\n"
        b"        nginx: ^1\\.13\\.[12]-alpine-perl$\n",
        "list",
    )
    first, second = found
    assert [wanted.repository for wanted in first.wanted] == ["busybox", "empty", "redis"]
    assert [wanted.chosen is not None for wanted in first.wanted] == [True, True, False]
    assert first.wanted[2].names == ("1.10", "2.0", "true")
    assert first.credentials is not None
    assert (first.credentials.user, first.credentials.password) == ("john", "this is a secret")
    assert "secret" not in repr(first)
    assert (first.tls_verify, first.certificates, second.tls_verify) == (True, "/home/john/certs", False)
    chosen = second.wanted[0].chosen
    assert chosen is not None
    assert chosen("1.13.1-alpine-perl")
    assert not chosen("1.13.3-alpine-perl")


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "a: [",
        "example.com: []",
        "example.com: {imagse: {}}",
        "example.com: {images: []}",
        "example.com: {images: {a: x}}",
        "example.com: {images: {a: [[]]}}",
        "example.com: {images-by-tag-regex: {a: '('}}",
        "example.com: {images-by-tag-regex: {a: []}}",
        "example.com: {images-by-semver: {a: latest}}",
        "example.com: {tls-verify: perhaps}",
        "example.com: {credentials: x}",
        "exa mple: {}",
        "example.com: {}\nexample.com: {}",
        "a.b: &x {images: {}}\nc.d: *x",
        "a.b: {images: &a [x], images-by-semver: *a}",
        "{" * 5000,
    ],
)
def test_a_list_that_is_none(text: str) -> None:
    with pytest.raises(InvalidInput):
        parse(text.encode(), "list")
