"""References: the grammar, the defaults, and that every spelling leads back to itself."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orlop.image.reference import Reference, is_short
from orlop.kit.errors import InvalidInput

SHA = "sha256:" + "a1" * 32
# The grammar as the `distribution` project writes it down, as the oracle for the hand-written parser.
_COMPONENT = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_DOMAIN = rf"(?:{_COMPONENT}(?:\.{_COMPONENT})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?"
_PATH = r"[a-z0-9]+(?:(?:[._]|__|[-]+)[a-z0-9]+)*"
ORACLE = re.compile(
    rf"(?:(?P<domain>{_DOMAIN})/)?(?P<path>{_PATH}(?:/{_PATH})*)"
    r"(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}))?(?:@(?P<digest>sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}))?"
)


@pytest.mark.parametrize(
    ("text", "canonical", "familiar"),
    [
        ("busybox", "docker.io/library/busybox:latest", "busybox:latest"),
        ("busybox:1.36", "docker.io/library/busybox:1.36", "busybox:1.36"),
        ("team/app", "docker.io/team/app:latest", "team/app:latest"),
        ("docker.io/busybox", "docker.io/library/busybox:latest", "busybox:latest"),
        ("index.docker.io/team/app", "docker.io/team/app:latest", "team/app:latest"),
        ("localhost/app", "localhost/app:latest", "localhost/app:latest"),
        ("localhost:5000/app:v1", "localhost:5000/app:v1", "localhost:5000/app:v1"),
        ("Ship/app", "Ship/app:latest", "Ship/app:latest"),
        ("[::1]:5000/app", "[::1]:5000/app:latest", "[::1]:5000/app:latest"),
        ("quay.io/a/b/c__d.e---f", "quay.io/a/b/c__d.e---f:latest", "quay.io/a/b/c__d.e---f:latest"),
        (f"busybox@{SHA}", f"docker.io/library/busybox@{SHA}", f"busybox@{SHA}"),
        (f"busybox:1@{SHA}", f"docker.io/library/busybox:1@{SHA}", f"busybox:1@{SHA}"),
        ("docker.io/localhost/app", "docker.io/localhost/app:latest", "docker.io/localhost/app:latest"),
        ("docker.io/library/a.b", "docker.io/library/a.b:latest", "a.b:latest"),
        ("a:5000/b", "a:5000/b:latest", "a:5000/b:latest"),
        ("app:" + "t" * 128, "docker.io/library/app:" + "t" * 128, "app:" + "t" * 128),
    ],
)
def test_a_reference_has_one_canonical_and_one_familiar_form(
    text: str, canonical: str, familiar: str
) -> None:
    parsed = Reference.parse(text)
    assert (parsed.canonical, parsed.familiar) == (canonical, familiar)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            " ",
            "/",
            ":",
            "@",
            "a/",
            "/a",
            "a//b",
            "a:",
            "a@",
            "a:b:c",
            "Busybox",
            "a/B",
            "-a",
            "a-",
            "a._b",
        ),
        *(
            "a___b",
            "a..b",
            "a b",
            "a\n",
            "é",
            "a:.x",
            "a:-x",
            "a:" + "t" * 129,
            "a@sha256:abc",
            "a@md5:" + "a" * 32,
        ),
        *(
            "http://a/b",
            "example.com:/a",
            "example.com:x/a",
            "-a.com/b",
            "a..com/b",
            "[::1/b",
            "[]/b",
            "[x]/b",
        ),
        *(
            "a" * 64,
            "0123456789abcdef" * 4,
            "a.b/" + "c" * 256,
            f"a@{SHA}@{SHA}",
            f"a@{SHA}:tag",
            "a@" + SHA.upper(),
        ),
        *("../etc/passwd", "a/../b", "a/./b", "a\0b"),
    ],
)
def test_what_the_grammar_refuses_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        Reference.parse(text)


def test_the_longest_repository_has_255_characters() -> None:
    assert len(Reference.parse("a.b/" + "c" * 255).repository) == 255


_components = st.lists(st.sampled_from(["a", "b0", "0", "ship", "x1"]), min_size=1, max_size=4)
_separators = st.sampled_from([".", "_", "__", "-", "---"])
_paths = st.lists(
    st.tuples(_separators, _components).map(lambda pair: pair[0].join(pair[1])), min_size=1, max_size=5
)
_hosts = st.one_of(
    st.just(""),
    st.sampled_from(["localhost", "A", "a.b", "a-b.C", "127.0.0.1", "[::1]", "[fe80:0::1]"]).flatmap(
        lambda host: st.sampled_from(["", ":0", ":5000"]).map(lambda port: f"{host}{port}/")
    ),
)
_tags = st.sampled_from(["", ":1", ":_x", ":A.b-c_d", ":" + "t" * 128])
_digests = st.sampled_from(["", f"@{SHA}", "@sha512:" + "0b" * 64])


@st.composite
def references(draw: st.DrawFn) -> tuple[str, str, str, str]:
    """(host with a slash or "", path, tag with its colon or "", digest with its @ or "")."""
    host, path = draw(_hosts), "/".join(draw(_paths))
    if not host and "/" in path and "." in path.partition("/")[0]:
        path = path.replace(".", "_")  # else the first part would be the host
    return host, path, draw(_tags), draw(_digests)


@given(references())
def test_what_follows_the_grammar_is_read_as_it_was_meant(parts: tuple[str, str, str, str]) -> None:
    host, path, tag, digest = parts
    text = "".join(parts)
    assert ORACLE.fullmatch(text)
    parsed = Reference.parse(text)
    assert parsed.registry == (host.rstrip("/") or "docker.io")
    assert parsed.repository == (path if host or "/" in path else f"library/{path}")
    assert parsed.tag == (tag[1:] or ("" if digest else "latest"))
    assert (parsed.digest or "") == digest[1:]


@given(st.text(alphabet="aA0.-_:/@[]é \n", max_size=30))
def test_nothing_else_than_the_grammar_is_accepted(text: str) -> None:
    try:
        parsed = Reference.parse(text)
    except InvalidInput:
        return
    assert ORACLE.fullmatch(parsed.canonical)
    assert ORACLE.fullmatch(text)


@given(references())
def test_every_form_leads_back_to_the_same_reference(parts: tuple[str, str, str, str]) -> None:
    parsed = Reference.parse("".join(parts))
    assert Reference.parse(parsed.canonical) == parsed
    assert Reference.parse(parsed.familiar) == parsed
    assert Reference.parse(str(parsed)) == parsed


@pytest.mark.parametrize(
    ("text", "short"),
    [
        ("busybox", True),
        ("a/b", True),
        (f"a@{SHA}", True),
        ("a:5000/b", False),
        ("localhost/a", False),
        ("a.b/c", False),
        ("docker.io/a", False),
        ("a.b", True),
    ],
)
def test_a_short_name_names_no_registry(text: str, short: bool) -> None:
    assert is_short(text) is short


def test_tag_and_digest_are_exchanged_without_touching_the_name() -> None:
    parsed = Reference.parse("quay.io/a/b:1")
    digest = Reference.parse(f"x@{SHA}").digest
    assert digest
    assert parsed.with_tag("2").canonical == "quay.io/a/b:2"
    assert parsed.with_digest(digest).canonical == f"quay.io/a/b:1@{SHA}"
    assert parsed.by_digest(digest).canonical == f"quay.io/a/b@{SHA}"
    with pytest.raises(InvalidInput):
        parsed.with_tag("a b")


@pytest.mark.parametrize(
    ("location", "rest", "canonical"),
    [
        ("mirror", "a/b:1", "mirror/a/b:1"),
        ("mirror/team", "a", "mirror/team/a:latest"),
        ("docker.io", "a", "docker.io/library/a:latest"),
        ("m:5000/x", f"a@{SHA}", f"m:5000/x/a@{SHA}"),
    ],
)
def test_a_name_below_a_configured_location(location: str, rest: str, canonical: str) -> None:
    assert Reference.within(location, rest).canonical == canonical
