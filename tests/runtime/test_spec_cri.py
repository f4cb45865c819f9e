"""config.json for the CRI: hooks, user namespaces, ambient capabilities, mounts with conditions."""

from __future__ import annotations

from pathlib import Path

import pytest

from orlop.kit.errors import InvalidInput, OrlopError, Unsupported
from orlop.runtime import subpaths
from orlop.runtime.features import Features, _decode
from orlop.runtime.model import (
    ContainerSpec,
    Hook,
    IDMapping,
    Mount,
    Namespaces,
    Process,
    Security,
)
from orlop.runtime.spec import hooks, labels, linux
from orlop.runtime.spec import mounts as mounts_
from tests.runtime.test_spec import built

USERS = (IDMapping(65536, 0, 65536),)


def test_hooks_stand_at_their_stage_in_their_order(tmp_path: Path) -> None:
    asked = (
        Hook("poststop", "/bin/b"),
        Hook("prestart", "/bin/a", ("a", "1"), ("X=1",), 3),
        Hook("poststop", "/bin/c"),
    )
    assert built(tmp_path, hooks=asked)["hooks"] == {
        "poststop": [{"path": "/bin/b"}, {"path": "/bin/c"}],
        "prestart": [{"path": "/bin/a", "args": ["a", "1"], "env": ["X=1"], "timeout": 3}],
    }


@pytest.mark.parametrize(
    "hook", [Hook("later", "/x"), Hook("prestart", "x"), Hook("prestart", "/x", timeout=-1)]
)
def test_a_hook_that_is_none_is_refused(hook: Hook) -> None:
    with pytest.raises(InvalidInput):
        hooks.hooks((hook,))


def test_a_user_namespace_is_joined_with_its_mappings(tmp_path: Path) -> None:
    part = built(tmp_path, namespaces=Namespaces(user="/pin"), uid_mappings=USERS, gid_mappings=USERS)[
        "linux"
    ]
    assert {"type": "user", "path": "/pin"} in part["namespaces"]
    listed = [{"containerID": 0, "hostID": 65536, "size": 65536}]
    assert part["uidMappings"] == part["gidMappings"] == listed


def test_without_one_there_is_no_word_of_it(tmp_path: Path) -> None:
    part = built(tmp_path)["linux"]
    assert "uidMappings" not in part
    assert not [each for each in part["namespaces"] if each["type"] == "user"]
    assert linux.mappings(ContainerSpec("x", "/", Process(("x",)), "/c")) == {}


def test_an_ambient_capability_is_in_all_sets_and_no_other_is_inheritable(tmp_path: Path) -> None:
    security = Security(
        drop_capabilities=("ALL",), ambient_capabilities=("net_raw",), add_capabilities=("KILL",)
    )
    sets = built(tmp_path, security=security)["process"]["capabilities"]
    assert sets["ambient"] == sets["inheritable"] == ["CAP_NET_RAW"]
    assert sets["effective"] == sets["permitted"] == sets["bounding"] == ["CAP_KILL", "CAP_NET_RAW"]


def test_what_the_runtime_cannot_make_read_only_throughout_is_an_error(tmp_path: Path) -> None:
    mount = Mount("/x", "/etc", read_only=True, recursive_read_only=True)
    with pytest.raises(Unsupported, match="read-only"):
        built(tmp_path, mounts=(mount,))
    spec = ContainerSpec("x", "/", Process(("x",)), "/c", mounts=(mount,))
    able = Features("/r", "r", "1.0.0", frozenset(), True, recursive_read_only=True)
    listed = {each["destination"]: each for each in mounts_.mounts(spec, able, sources={})}
    assert listed["/x"]["options"] == ["rbind", "rprivate", "ro", "rro"]


@pytest.mark.parametrize(
    ("name", "version", "options", "knows"),
    [
        ("crun", "1.8.1", [], True),
        ("crun", "1.3", [], False),
        ("crun", "", [], False),
        ("runc", "1.0.3", [], False),
        ("runc", "1.1.5", ["rro", "ro"], True),
        ("youki", "0.3", ["ro"], False),
    ],
)
def test_recursive_read_only_is_what_the_runtime_says_or_its_version_promises(
    name: str, version: str, options: list[str], knows: bool
) -> None:
    answer = {
        "name": name, "max": "1.0.0", "options": options, "asked": bool(options),
        "version": version.split(), "recursive": True, "mapped": True,
    }  # fmt: skip
    assert _decode("/r", answer).recursive_read_only is knows
    assert not _decode("/r", {**answer, "recursive": False}).recursive_read_only


def test_mappings_of_a_mount_want_the_containers(tmp_path: Path) -> None:
    mount = Mount("/x", "/etc", uid_mappings=USERS, gid_mappings=USERS)
    spec = ContainerSpec("x", "/", Process(("x",)), "/c", mounts=(mount,))
    with pytest.raises(Unsupported, match="user namespace"):
        subpaths.prepare(str(tmp_path), spec)


@pytest.mark.parametrize("name", ["a b", "a\nb"])
def test_a_malformed_profile_is_refused(name: str) -> None:
    with pytest.raises(OrlopError):
        labels.of_process(Security(apparmor=name))
