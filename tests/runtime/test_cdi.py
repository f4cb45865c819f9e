"""CDI devices: files of vendors read and ranked, and what they ask for put into a container."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from orlop.kit import limits
from orlop.kit.errors import InvalidInput, LimitExceeded, OrlopError, Unsupported
from orlop.runtime.cdi import apply, document, registry
from orlop.runtime.model import ContainerSpec, Device, Hook, Mount, Process, Security
from orlop.runtime.spec import devices
from tests.runtime.conftest import Bench

KIND = "vendor.com/net"


def described(folder: Path, name: str = "a.json", **changes: Any) -> Path:
    """A file with the device `one`."""
    whole: dict[str, Any] = {
        "cdiVersion": "0.6.0",
        "kind": KIND,
        "devices": [{"name": "one", "containerEdits": {"env": ["ONE=1"]}}],
        **changes,
    }
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(json.dumps(whole) if name.endswith(".json") else yaml.safe_dump(whole))
    return path


def spec(**changes: Any) -> ContainerSpec:
    return ContainerSpec("ab" * 32, "/", Process(args=("x",), env=("ONE=0", "PATH=/bin")), "/a/b", **changes)


def given(folder: Path, *names: str, to: ContainerSpec | None = None) -> ContainerSpec:
    return apply.apply(to or spec(), names or (f"{KIND}=one",), (str(folder),))


@pytest.mark.parametrize("name", ["a.json", "a.yaml"])
def test_all_edits_of_a_device_and_of_its_file_are_made_once(tmp_path: Path, name: str) -> None:
    edits = {
        "env": ["ONE=1", "TWO=a=b"],
        "deviceNodes": [
            {"path": "/dev/x", "type": "c", "major": 1, "minor": 3, "fileMode": 0o600, "uid": 5, "gid": 6},
            {"path": "/dev/y", "hostPath": "/dev/null", "permissions": "r"},
        ],
        "mounts": [
            {"hostPath": "/etc", "containerPath": "/etc2", "options": ["ro", "rbind", "rslave", "nosuid"]},
            {"hostPath": "tmpfs", "containerPath": "/scratch", "type": "tmpfs", "options": ["mode=0700"]},
        ],
        "hooks": [{"hookName": "createContainer", "path": "/bin/true", "args": ["true"], "timeout": 3}],
        "additionalGids": [44, 0],
    }
    both = [{"name": "one", "containerEdits": edits}, {"name": "two", "containerEdits": {}}]
    described(tmp_path, name, devices=both, containerEdits={"env": ["ALL=1"]})
    before = spec(mounts=(Mount("/etc2", "/old"),), security=Security(user="7:8", groups=(1,)))
    made = given(tmp_path, f"{KIND}=one", f"{KIND}=two", to=before)
    assert made.process.env == ("ONE=1", "PATH=/bin", "ALL=1", "TWO=a=b")
    assert made.devices == (
        Device("/dev/x", "/dev/x", "rwm", "c", 1, 3, 0o600, (5, 6)),
        Device("/dev/null", "/dev/y", "r", owner=(7, 8)),
    )
    assert made.mounts == (
        Mount("/etc2", "/etc", True, "rslave", options=("nosuid",)),
        Mount("/scratch", "", options=("mode=0700",)),
    )
    assert made.hooks == (Hook("createContainer", "/bin/true", ("true",), (), 3),)
    assert made.security.groups == (1, 44)


def test_a_later_folder_outranks_and_two_files_of_one_conflict(tmp_path: Path) -> None:
    low, high = tmp_path / "low", tmp_path / "high"
    described(low)
    described(high, devices=[{"name": "one", "containerEdits": {"env": ["ONE=high"]}}])
    folders = (str(low), str(high))
    assert "ONE=high" in apply.apply(spec(), (f"{KIND}=one",), folders).process.env
    described(low, "b.json")  # a conflict below does not matter
    assert f"{KIND}=one" in registry.look(folders).devices
    with pytest.raises(InvalidInput, match=r"a\.json and .*b\.json both describe it"):
        given(low)


def test_a_device_that_nobody_describes_is_named_with_what_is_wrong(tmp_path: Path) -> None:
    described(tmp_path)
    (tmp_path / "bad.yaml").write_text("cdiVersion: [")
    with pytest.raises(InvalidInput, match=r"vendor\.com/net=none.*vendor\.com/gpu=0.*bad\.yaml"):
        given(tmp_path, f"{KIND}=one", f"{KIND}=none", "vendor.com/gpu=0")
    assert given(tmp_path).process.env[0] == "ONE=1"  # others' mistakes change nothing


def test_a_changed_file_is_read_again_and_a_removed_one_forgotten(tmp_path: Path) -> None:
    path = described(tmp_path)
    given(tmp_path)
    described(tmp_path, devices=[{"name": "two", "containerEdits": {"env": ["TWO=2"]}}])
    assert "TWO=2" in given(tmp_path, f"{KIND}=two").process.env
    path.unlink()
    with pytest.raises(InvalidInput):
        given(tmp_path, f"{KIND}=two")


def test_annotations_name_devices_too() -> None:
    annotations = {"cdi.k8s.io/plugin_7": f"{KIND}=a,{KIND}=b", "other": "x"}
    assert apply.asked((f"{KIND}=b", f"{KIND}=c"), annotations) == tuple(f"{KIND}={name}" for name in "abc")
    with pytest.raises(InvalidInput, match="no CDI device"):
        apply.asked((), {"cdi.k8s.io/x": "gpu0"})


@pytest.mark.parametrize(
    "name", ["", "gpu", "v/c", "v/c=", "=x", "v=c=x", "../v/c=x", "v/c=x/../y", "1v/c=x", "v/c=x ", "v_/c=x"]
)
def test_what_is_no_name_of_a_device_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidInput):
        given(tmp_path, name)


@pytest.mark.parametrize(
    "changes",
    [
        {"cdiVersion": "9.0.0"},
        {"kind": "novendor"},
        {"devices": []},
        {"devices": [{"name": "one"}, {"name": "one"}]},
        {"devices": [{"name": "-one"}]},
        {"surprise": 1},
        {"containerEdits": {"env": ["NOVALUE"]}},
        {"containerEdits": {"env": ["A=b\0c"]}},
        {"containerEdits": {"deviceNodes": [{"path": "/dev/../etc/shadow"}]}},
        {"containerEdits": {"deviceNodes": [{"path": "dev/x"}]}},
        {"containerEdits": {"deviceNodes": [{"path": "/dev/x", "type": "z"}]}},
        {"containerEdits": {"deviceNodes": [{"path": "/dev/x", "permissions": "rx"}]}},
        {"containerEdits": {"deviceNodes": [{"path": "/dev/x", "uid": -1}]}},
        {"containerEdits": {"mounts": [{"hostPath": "", "containerPath": "/x"}]}},
        {"containerEdits": {"mounts": [{"hostPath": "/x", "containerPath": "../x"}]}},
        {"containerEdits": {"hooks": [{"hookName": "never", "path": "/bin/true"}]}},
        {"containerEdits": {"hooks": [{"hookName": "poststop", "path": "true"}]}},
        {"containerEdits": {"additionalGids": [1 << 40]}},
        {"containerEdits": [1]},
    ],
)
def test_a_file_that_is_wrong_is_refused_whole(tmp_path: Path, changes: dict[str, Any]) -> None:
    path = described(tmp_path, **changes)
    with pytest.raises(InvalidInput, match="CDI file"):
        document.load(str(path))
    assert registry.look((str(tmp_path),)).devices == {}


def test_a_hostile_file_has_bounds(tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.yaml"
    bomb.write_text("a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n")
    deep = tmp_path / "deep.json"
    deep.write_text("[" * 100_000)
    nested = tmp_path / "nested.yaml"
    nested.write_text("[" * 500 + "]" * 500)
    large = tmp_path / "large.json"
    large.write_bytes(b" " * (limits.CDI_FILE_SIZE + 1))
    for path in (bomb, deep, nested, large):
        with pytest.raises(OrlopError):
            document.load(str(path))
    many = described(tmp_path, "many.json", containerEdits={"env": ["A=1"] * (limits.CDI_ENTRIES + 1)})
    with pytest.raises(LimitExceeded):
        document.load(str(many))
    (tmp_path / "folder.json").mkdir()
    assert registry.look((str(tmp_path), str(tmp_path / "absent"))).devices == {}


@pytest.mark.parametrize(
    "edits",
    [
        {"intelRdt": {"closID": "x"}},
        {"netDevices": [{"hostInterfaceName": "eth1", "name": "eth1"}]},
        {"mounts": [{"hostPath": "proc", "containerPath": "/p", "type": "proc"}]},
    ],
)
def test_what_cannot_be_given_is_said(tmp_path: Path, edits: dict[str, Any]) -> None:
    described(tmp_path, containerEdits=edits)
    with pytest.raises(Unsupported):
        given(tmp_path)


def test_a_numbered_node_need_not_be_on_the_machine() -> None:
    asked = spec(
        devices=(
            Device("/dev/none", "/dev/none", "rw", "b", 7, 9, 0o640, (3, 4)),
            Device("/dev/pipe", "/dev/pipe", kind="p"),
        )
    )
    found = devices.found(asked)
    assert devices.nodes(found) == [
        {"path": "/dev/none", "type": "b", "major": 7, "minor": 9, "fileMode": 0o640, "uid": 3, "gid": 4},
        {"path": "/dev/pipe", "type": "p", "fileMode": 0o666, "uid": 0, "gid": 0},
    ]
    block = {"allow": True, "type": "b", "major": 7, "minor": 9, "access": "rw"}
    assert devices.rules(found, privileged=False)[-1] == block


@pytest.mark.host
def test_a_container_has_the_device(bench: Bench, tmp_path: Path) -> None:
    node = {"path": "/dev/sink", "hostPath": "/dev/null", "fileMode": 0o600, "uid": 1000, "gid": 2000}
    described(tmp_path, containerEdits={"deviceNodes": [node], "additionalGids": [77]})
    asked = bench.spec("sh", "-c", "ls -ln /dev/sink; echo x > /dev/sink && echo $ONE; id -G")
    made = given(tmp_path, to=asked)
    bench.engine.create(made, log_path=bench.log(made))
    bench.engine.start(made.id)
    assert bench.ended(made.id).code == 0
    said = Path(bench.log(made)).read_text()
    assert "crw-------" in said
    assert " 1000 " in said
    assert " F 1\n" in said
    assert "77" in said.splitlines()[-1]
