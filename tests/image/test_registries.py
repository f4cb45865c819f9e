"""registries.conf: files, prefixes, remapping, mirrors, blocked registries, short names."""

from __future__ import annotations

from pathlib import Path

import pytest

from orlop.image.reference import Reference
from orlop.image.registries import load as loading
from orlop.image.registries.load import load, parse
from orlop.image.registries.places import places
from orlop.image.registries.shortnames import candidates
from orlop.kit.errors import Denied, InvalidInput

SHA = "sha256:" + "a1" * 32
MANUAL = """
unqualified-search-registries = ["example.com"]
[[registry]]
prefix = "example.com/foo"
insecure = false
blocked = false
location = "internal-registry-for-example.com/bar"
[[registry.mirror]]
location = "example-mirror-0.local/mirror-for-foo"
[[registry.mirror]]
location = "example-mirror-1.local/mirrors/foo"
insecure = true
[[registry]]
location = "registry.com"
[[registry.mirror]]
location = "mirror.registry.com"
"""


def served(text: str, name: str) -> list[str]:
    """Where `name` is looked for under the configuration `text`; `!` marks insecure places."""
    return [
        ("!" if place.insecure else "") + str(place.reference)
        for place in places(Reference.parse(name), parse(text))
    ]


def test_the_manuals_example_means_what_the_manual_says() -> None:
    assert served(MANUAL, "example.com/foo/image:latest") == [
        "example-mirror-0.local/mirror-for-foo/image:latest",
        "!example-mirror-1.local/mirrors/foo/image:latest",
        "internal-registry-for-example.com/bar/image:latest",
    ]
    assert served(MANUAL, "registry.com/image:latest") == [
        "mirror.registry.com/image:latest",
        "registry.com/image:latest",
    ]
    assert served(MANUAL, "example.com/other") == ["example.com/other:latest"]
    assert [str(found) for found in candidates("image", parse(MANUAL))] == ["example.com/image:latest"]


def test_only_the_last_place_is_no_mirror() -> None:
    found = places(Reference.parse("example.com/foo/x"), parse(MANUAL))
    assert [place.mirror for place in found] == [True, True, False]


@pytest.mark.parametrize(
    ("prefix", "name", "matches"),
    [
        ("example.com", "example.com/a", True),
        ("example.com", "example.com:5000/a", False),
        ("example.com", "example.comet/a", False),
        ("example.com:5000", "example.com:5000/a", True),
        ("example.com/a", "example.com/a:1", True),
        ("example.com/a", "example.com/ab", False),
        ("example.com/a:1", "example.com/a:1", True),
        ("example.com/a:1", "example.com/a:11", False),
        (f"example.com/a@{SHA}", f"example.com/a@{SHA}", True),
        ("*.example.com", "a.example.com/x", True),
        ("*.example.com", "a.b.example.com:5000/x", True),
        ("*.example.com", "example.com/x", False),
        ("*.example.com", "badexample.com/x", False),
        ("*.example.com", "other.com/a.example.com/x", False),
        ("docker.io/library", "busybox", True),
        ("docker.io/busybox", "busybox", False),
    ],
)
def test_a_prefix_ends_where_a_name_part_ends(prefix: str, name: str, matches: bool) -> None:
    text = f'[[registry]]\nprefix = "{prefix}"\nlocation = "{prefix.removeprefix("*.")}"\nblocked = true\n'
    if matches:
        with pytest.raises(Denied, match="blocks"):
            served(text, name)
    else:
        assert len(served(text, name)) == 1


def test_the_longest_prefix_wins_and_an_exact_one_over_a_wildcard() -> None:
    text = """
        [[registry]]
        prefix = "*.com"
        location = "wild"
        [[registry]]
        prefix = "*.example.com"
        location = "wilder"
        [[registry]]
        prefix = "a.example.com"
        location = "exact"
        [[registry]]
        prefix = "a.example.com/team"
        location = "team.local/x"
    """
    assert served(text, "a.example.com/x:1") == ["exact/x:1"]
    assert served(text, "a.example.com/team/x:1") == ["team.local/x/x:1"]
    assert served(text, "b.example.com/x:1") == ["wilder/x:1"]
    assert served(text, "b.example.org.com/x:1") == ["wild/x:1"]


def test_a_wildcard_without_location_changes_no_name() -> None:
    text = '[[registry]]\nprefix = "*.example.com"\ninsecure = true\n'
    assert served(text, "a.example.com/x:1") == ["!a.example.com/x:1"]


def test_mirrors_may_be_for_tags_or_for_digests_alone() -> None:
    text = """
        [[registry]]
        location = "r.com"
        [[registry.mirror]]
        location = "tags.local"
        pull-from-mirror = "tag-only"
        [[registry.mirror]]
        location = "digests.local"
        pull-from-mirror = "digest-only"
        [[registry.mirror]]
        location = "all.local"
        pull-from-mirror = "all"
    """
    assert served(text, "r.com/x:1") == ["tags.local/x:1", "all.local/x:1", "r.com/x:1"]
    assert [name.partition("/")[0] for name in served(text, f"r.com/x@{SHA}")] == [
        "digests.local",
        "all.local",
        "r.com",
    ]
    by_digest = text.replace('pull-from-mirror = "tag-only"', "").replace(
        'pull-from-mirror = "digest-only"', ""
    )
    by_digest = by_digest.replace('pull-from-mirror = "all"', "").replace(
        'location = "r.com"', 'location = "r.com"\nmirror-by-digest-only = true'
    )
    assert served(by_digest, "r.com/x:1") == ["r.com/x:1"]
    assert len(served(by_digest, f"r.com/x@{SHA}")) == 4


@pytest.mark.parametrize(
    "text",
    [
        "x = ",
        "[[registry]]\n",
        '[registry]\nlocation = "a.b"',
        '[[registry]]\nlocation = "https://a.b"',
        '[[registry]]\nlocation = "a b"',
        "[[registry]]\nlocation = 5",
        '[[registry]]\nlocation = "a.b"\ninsecure = "yes"',
        '[[registry]]\nprefix = "*.a.b/c"',
        '[[registry]]\nprefix = "a.*.b"\nlocation = "c"',
        '[[registry]]\nlocation = "a.b"\npull-from-mirror = "all"',
        '[[registry]]\nlocation = "a.b"\n[[registry.mirror]]\ninsecure = true',
        '[[registry]]\nlocation = "a.b"\n[[registry.mirror]]\nlocation = "c"\npull-from-mirror = "some"',
        '[[registry]]\nlocation="a.b"\nmirror-by-digest-only=true\n[[registry.mirror]]\nlocation="c"\npull-from-mirror="all"',
        '[[registry]]\nlocation = "a.b"\ninsecure = true\n[[registry]]\nlocation = "a.b"',
        'short-name-mode = "maybe"',
        'unqualified-search-registries = "a.b"',
        'unqualified-search-registries = ["a.b", 5]',
        '[aliases]\n"a.b/c" = "d.e/f"',
        '[aliases]\n"a" = "b"',
        '[aliases]\n"a" = "d.e/f:tag"',
        '[aliases]\n"a:1" = "d.e/f"',
        '[registries.search]\nregistries = ["a.b"]\n[[registry]]\nlocation = "c.d"',
        "registries = 5",
    ],
)
def test_a_malformed_file_is_refused_by_name(text: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse(text, "/etc/some.conf")
    assert "/etc/some.conf" in caught.value.subject or caught.value.subject == "a.b"


def test_version_1_still_works_as_the_only_format_of_a_main_file() -> None:
    text = """
        [registries.search]
        registries = ['one.com', 'two.com']
        [registries.insecure]
        registries = ['three.com']
        [registries.block]
        registries = ['bad.com']
    """
    assert served(text, "three.com/x") == ["!three.com/x:latest"]
    with pytest.raises(Denied):
        served(text, "bad.com/x")
    assert len(candidates("x", parse(text))) == 2
    with pytest.raises(InvalidInput, match="version 1"):
        parse(text, drop_in=True)


# Short names


@pytest.mark.parametrize(
    ("text", "name", "found"),
    [
        ("", "busybox", ["docker.io/library/busybox:latest"]),
        ("", "quay.io/a/b:1", ["quay.io/a/b:1"]),
        ('unqualified-search-registries = ["a.b", "c"]', "x/y:1", ["a.b/x/y:1", "c/x/y:1"]),
        (
            'short-name-mode = "disabled"\nunqualified-search-registries = ["a.b", "c.d"]',
            "x",
            ["a.b/x:latest", "c.d/x:latest"],
        ),
        ('short-name-mode = "enforcing"\nunqualified-search-registries = ["a.b"]', "x", ["a.b/x:latest"]),
        ('[aliases]\n"x" = "q.io/team/x"', "x:2", ["q.io/team/x:2"]),
        ('[aliases]\n"x" = "q.io/team/x"', f"x:2@{SHA}", [f"q.io/team/x:2@{SHA}"]),
        ('[aliases]\n"t/x" = "q.io/x"\n"x" = "q.io/no"', "t/x", ["q.io/x:latest"]),
        ('unqualified-search-registries = ["docker.io"]', "x", ["docker.io/library/x:latest"]),
    ],
)
def test_a_short_name_means_its_alias_else_the_search_registries(
    text: str, name: str, found: list[str]
) -> None:
    assert [str(reference) for reference in candidates(name, parse(text))] == found


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ('short-name-mode = "enforcing"\nunqualified-search-registries = ["a.b", "c.d"]', "x"),
        ("unqualified-search-registries = []", "x"),
        ("", "X"),
        ("", "a" * 64),
    ],
)
def test_a_short_name_that_cannot_be_resolved_is_an_error(text: str, name: str) -> None:
    with pytest.raises(InvalidInput):
        candidates(name, parse(text))


# Files


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home and a system folder of the test's own."""
    monkeypatch.setattr(loading, "SYSTEM_FILE", str(tmp_path / "etc.conf"))
    monkeypatch.setattr(loading, "SYSTEM_FOLDER", str(tmp_path / "etc.conf.d"))
    monkeypatch.setattr(loading, "_recorded_aliases", lambda _: str(tmp_path / "recorded.conf"))
    (tmp_path / "home/.config/containers/registries.conf.d").mkdir(parents=True)
    (tmp_path / "etc.conf.d").mkdir()
    return tmp_path


def environment(home: Path, **more: str) -> dict[str, str]:
    return {"HOME": str(home / "home"), **more}


def test_no_file_at_all_is_fine(home: Path) -> None:
    assert candidates("x", load(environment(home)))[0].registry == "docker.io"


def test_drop_ins_add_to_the_main_file_in_the_order_of_their_names(home: Path) -> None:
    (home / "etc.conf").write_text(
        'unqualified-search-registries=["main.com"]\n[aliases]\n"x"="main.com/x"\n"y"="main.com/y"'
    )
    (home / "etc.conf.d/20.conf").write_text(
        'unqualified-search-registries=["twenty.com"]\n[aliases]\n"x"="twenty.com/x"\n"y"=""'
    )
    (home / "etc.conf.d/10.conf").write_text(
        'short-name-mode="enforcing"\nunqualified-search-registries=["ten.com"]\n[[registry]]\nlocation="r.com"\ninsecure=true'
    )
    (home / "etc.conf.d/ignored.toml").write_text("not = toml = at all")
    (home / "home/.config/containers/registries.conf.d/user.conf").write_text(
        '[[registry]]\nlocation="r.com"\nblocked=true'
    )
    found = load(environment(home))
    assert found.search == ("twenty.com",)
    assert found.aliases == {"x": "twenty.com/x"}
    assert found.short_name_mode == "enforcing"
    assert [(entry.prefix, entry.insecure, entry.blocked) for entry in found.registries] == [
        ("r.com", False, True)
    ]


def test_the_users_own_file_replaces_the_systems_and_its_drop_ins(home: Path) -> None:
    (home / "etc.conf").write_text('unqualified-search-registries=["main.com"]')
    (home / "etc.conf.d/10.conf").write_text('unqualified-search-registries=["ten.com"]')
    (home / "home/.config/containers/registries.conf").write_text(
        'unqualified-search-registries=["user.com"]'
    )
    assert load(environment(home)).search == ("user.com",)


def test_the_environment_names_other_files(home: Path) -> None:
    (home / "mine.conf").write_text('unqualified-search-registries=["mine.com"]')
    (home / "mine.d").mkdir()
    (home / "mine.d/a.conf").write_text('[aliases]\n"x"="mine.com/x"')
    (home / "etc.conf.d/10.conf").write_text('[aliases]\n"x"="ten.com/x"')
    mine = environment(home, CONTAINERS_REGISTRIES_CONF=str(home / "mine.conf"))
    assert load(mine).aliases == {"x": "ten.com/x"}
    mine["CONTAINERS_REGISTRIES_CONF_DIR"] = str(home / "mine.d")
    assert (load(mine).search, load(mine).aliases) == (("mine.com",), {"x": "mine.com/x"})
    with pytest.raises(InvalidInput, match="no such file"):
        load(environment(home, CONTAINERS_REGISTRIES_CONF=str(home / "absent.conf")))


def test_the_aliases_that_podman_recorded_come_last(home: Path) -> None:
    (home / "etc.conf").write_text('[aliases]\n"x"="main.com/x"')
    (home / "recorded.conf").write_text('[aliases]\n"x"="recorded.com/x"')
    assert load(environment(home)).aliases == {"x": "recorded.com/x"}


def test_debians_own_files_are_read() -> None:
    load({"HOME": "/nonexistent"})
