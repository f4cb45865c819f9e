"""Reading configurations and results; no process is started."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orlop.kit.errors import InvalidInput, NotFound, OrlopError
from orlop.network import chain, conflist, results

LIST = {"cniVersion": "1.0.0", "name": "net", "plugins": [{"type": "bridge"}]}


def parse(value: object, source: str = "x.conflist") -> conflist.NetworkList:
    return conflist.parse(json.dumps(value).encode(), source)


def test_a_list_is_read() -> None:
    found = parse({**LIST, "disableCheck": "true", "disableGC": True})
    assert (found.name, found.versions, found.plugins) == ("net", ("1.0.0",), ({"type": "bridge"},))
    assert found.disable_check and found.disable_gc


def test_a_single_plugins_configuration_is_a_list_of_one() -> None:
    found = parse({"name": "net", "type": "macvlan", "master": "eth0"}, "x.conf")
    assert found.versions == ("0.1.0",) and found.plugins[0]["master"] == "eth0"


def test_versions_known_here_are_kept_of_those_listed() -> None:
    found = parse({**LIST, "cniVersions": ["1.1.0", "0.4.0", "7.0.0"]})
    assert found.versions == ("0.4.0", "1.0.0", "1.1.0")


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"name": "../x"}, "name"),
        ({"name": None}, "name"),
        ({"plugins": []}, "plugin"),
        ({"plugins": {}}, "plugins"),
        ({"plugins": [{"type": "../../bin/sh"}]}, "type"),
        ({"plugins": ["bridge"]}, "plugin"),
        ({"plugins": [{"type": "x", "capabilities": ["a"]}]}, "capabilities"),
        ({"cniVersion": "9.9.9"}, "9.9.9"),
        ({"cniVersion": 1}, "cniVersion"),
        ({"disableCheck": "maybe"}, "disableCheck"),
    ],
)
def test_a_wrong_list_names_the_field(change: dict[str, object], word: str) -> None:
    with pytest.raises(InvalidInput, match=word):
        parse({**LIST, **change})


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["name", "plugins", "type", "cniVersion", "capabilities"]), inner
            )
        ),
    )
)
def test_any_json_is_read_or_refused(value: object) -> None:
    try:
        found = parse(value)
    except OrlopError:
        return
    assert found.plugins and found.versions


@given(st.binary(max_size=50))
def test_any_bytes_are_read_or_refused(raw: bytes) -> None:
    with pytest.raises(InvalidInput):
        conflist.parse(b"\xff" + raw, "x.conf")


def test_the_first_file_by_name_counts_or_the_one_asked_for(tmp_path: Path) -> None:
    for file, name in (("20.conflist", "second"), ("10.conflist", "first"), ("05.txt", "not")):
        (tmp_path / file).write_text(json.dumps({**LIST, "name": name}))
    assert conflist.load(str(tmp_path)).name == "first"
    assert conflist.load(str(tmp_path), "second").name == "second"
    with pytest.raises(NotFound, match="third"):
        conflist.load(str(tmp_path), "third")
    with pytest.raises(NotFound, match="cannot be read"):
        conflist.load(str(tmp_path / "absent"))


def test_plugins_of_the_networks_folder_are_appended(tmp_path: Path) -> None:
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "50.conf").write_text('{"type": "tuning"}')
    for only, kinds in ((False, ["bridge", "tuning"]), (True, ["bridge"])):
        (tmp_path / "10.conflist").write_text(json.dumps({**LIST, "loadOnlyInlinedPlugins": only}))
        assert [plugin["type"] for plugin in conflist.load(str(tmp_path)).plugins] == kinds


def test_the_execution_configuration_is_derived_as_specified() -> None:
    config = {"type": "x", "key": 1, "capabilities": {"a": True, "b": False}, "runtimeConfig": {"old": 1}}
    found = chain.derived({"name": "n", "cniVersion": "1.0.0"}, config, {"a": 1, "b": 2, "c": 3}, {"ips": []})
    assert found == {
        "type": "x",
        "key": 1,
        "name": "n",
        "cniVersion": "1.0.0",
        "runtimeConfig": {"a": 1},
        "prevResult": {"ips": []},
    }


FLAT = {
    "cniVersion": "0.2.0",
    "ip4": {"ip": "10.0.0.2/24", "gateway": "10.0.0.1", "routes": [{"dst": "0.0.0.0/0"}]},
    "ip6": {"ip": "fd00::2/64"},
    "dns": {"nameservers": ["10.0.0.1"], "domain": "a.b", "search": ["c.d"], "options": ["ndots:2"]},
}


def test_a_result_of_every_version_gives_the_same_addresses() -> None:
    found = [
        results.addresses(results.converted(FLAT, version), "eth0")
        for version in ("0.2.0", *conflist.VERSIONS)
    ]
    assert len(set(found)) == 1
    assert found[0].ips == ("10.0.0.2", "fd00::2") and found[0].gateways == ("10.0.0.1",)
    assert found[0].nameservers == ("10.0.0.1",) and found[0].searches == ("a.b", "c.d")


@pytest.mark.parametrize("version", conflist.VERSIONS)
def test_a_conversion_there_and_back_changes_nothing(version: str) -> None:
    there = results.converted(FLAT, version)
    back = results.converted(there, "1.0.0")
    assert back["ips"] == results.converted(FLAT, "1.0.0")["ips"]
    assert all(("version" in ip) == (version in ("0.3.0", "0.3.1", "0.4.0")) for ip in there.get("ips", []))


def test_addresses_of_the_machines_own_ends_are_left_out() -> None:
    result: dict[str, Any] = {
        "cniVersion": "1.0.0",
        "interfaces": [{"name": "br0"}, {"name": "eth0", "sandbox": "/x", "mac": "m"}],
        "ips": [{"address": "10.0.0.1/24", "interface": 0}, {"address": "10.0.0.2/24", "interface": 1}],
    }
    found = results.addresses(result, "eth0")
    assert found.ips == ("10.0.0.2",) and found.mac == "m"


@given(
    st.dictionaries(
        st.sampled_from(["ips", "interfaces", "dns", "ip4", "cniVersion", "routes"]),
        st.one_of(
            st.none(),
            st.text(max_size=3),
            st.lists(
                st.one_of(
                    st.none(),
                    st.integers(),
                    st.dictionaries(
                        st.sampled_from(["address", "interface", "gateway", "name"]),
                        st.one_of(st.none(), st.integers()),
                    ),
                )
            ),
        ),
    )
)
def test_no_result_however_odd_breaks_its_reader(result: dict[str, Any]) -> None:
    results.addresses(result, "eth0")
