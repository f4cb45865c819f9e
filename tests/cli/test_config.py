"""`orlop config show` and `orlop serve --check-config`."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from orlop.cli.context import SECTIONS
from tests.cli.program import answer, orlop


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "orlop.toml"


def _folders(file: Path) -> tuple[str, ...]:
    folder = file.parent
    return ("--root", str(folder / "r"), "--state", str(folder / "s"), "--config", str(file))


def test_every_key_is_shown_with_the_file_that_said_it_last(file: Path) -> None:
    file.write_text('[serve]\nlog_level = "debug"\n\n[cri]\nparallel_pulls = 2\n')
    drop_in = file.parent / "orlop.toml.d" / "10.toml"
    drop_in.parent.mkdir()
    drop_in.write_text("[cri]\nparallel_pulls = 3\n")
    told = answer("config", "show", "--config", str(file))
    assert set(told) == set(SECTIONS)
    assert told["serve"]["log_level"] == {"value": "debug", "origin": str(file)}
    assert told["cri"]["parallel_pulls"] == {"value": 3, "origin": str(drop_in)}
    assert told["cri"]["listen"] == {"value": "", "origin": "default"}
    changed = answer("config", "show", "--changed", "--config", str(file))
    assert {name: list(keys) for name, keys in changed.items() if keys} == {
        "cri": ["parallel_pulls"],
        "serve": ["log_level"],
    }


def test_the_text_is_a_configuration_file_that_says_the_same(file: Path) -> None:
    odd = 'a "b" \\ \t\u007f ü'
    file.write_text(f'[cri]\npinned_images = ["x:1", {_quoted(odd)}]\n\n[image]\nbackoff = 1e-05\n')
    text = orlop("config", "show", "--config", str(file)).stdout
    parsed = tomllib.loads(text)
    assert parsed["cri"]["pinned_images"] == ["x:1", odd]
    again = file.parent / "again.toml"
    again.write_text(text)
    values = [
        {name: {key: entry["value"] for key, entry in keys.items()} for name, keys in told.items()}
        for told in (answer("config", "show", "--config", str(path)) for path in (file, again))
    ]
    assert values[0] == values[1]


def _quoted(text: str) -> str:
    return '"' + "".join(f"\\u{ord(c):04x}" for c in text) + '"'


def test_defaults_are_shown_without_the_files(file: Path) -> None:
    file.write_text("[cri]\nparallel_pulls = 2\n")
    told = answer("config", "show", "cri", "--defaults", "--config", str(file))
    assert told == {"cri": told["cri"]}
    assert told["cri"]["parallel_pulls"] == {"value": 5, "origin": "default"}


def test_an_unknown_section_is_refused_with_those_that_there_are() -> None:
    assert "supervise" in orlop("config", "show", "nonsense", code=2).stderr


@pytest.mark.host
def test_a_right_configuration_is_said_to_be_right(file: Path) -> None:
    file.write_text("")
    assert orlop("serve", "--check-config", *_folders(file)).stdout == "the configuration is right\n"
    assert answer("serve", "--check-config", *_folders(file)) == {"ok": True, "problems": []}
    assert not (file.parent / "r").exists()
    assert not (file.parent / "s").exists()


@pytest.mark.host
@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("[serve", "is not TOML"),
        ("[nonsense]\nx = 1", "no such section"),
        ('[serve]\nlog_level = "loud"', "is no level"),
        ('[serve]\nlog_format = "xml"', "is no format"),
        ('[serve]\nmetrics_address = "9537"', "is not HOST:PORT"),
        ("[serve]\ncollect_interval = -1", "below zero"),
        ('[tracing]\nendpoint = "http://x/"', "is not HOST:PORT"),
        ("[tracing]\nsampling = 2", "a share from 0.0 to 1.0"),
        ('[cri]\nsocket_mode = "rw"', "is not octal"),
        ('[cri]\nsocket_group = "no-such-group"', "no such group"),
        ('[cri]\nlisten = "tcp://0.0.0.0:1"', "not the address of a Unix socket"),
        ('[cri]\nlisten = "unix:///tmp/orlop.sock"', "others may write into it"),
        ('[runtime]\npath = "no-such-runtime"', "no such program"),
        ('[runtime]\nconmon = "no-such-monitor"', "no such program"),
        ('[runtime]\nhandlers = ["kata=/no/such/kata"]', "/no/such/kata"),
        ('[streaming]\ntls_cert = "/etc/passwd"\ntls_key = "/etc/passwd"', "cannot be used"),
        ('[runtime]\ncgroup_manager = "magic"', "is no cgroup manager"),
        ('[network]\nconfig_dir = "/no/such/folder"', "/no/such/folder"),
        ('[streaming]\naddress = "0.0.0.0"', "without TLS"),
        ('[streaming]\ntls_cert = "/no/cert"\ntls_key = "/no/key"', "cannot be read"),
    ],
)
def test_what_is_wrong_is_told_with_exit_code_2(file: Path, text: str, word: str) -> None:
    file.write_text(text)
    done = orlop("serve", "--check-config", *_folders(file), code=2)
    assert word in done.stderr
    assert "hint: " in done.stderr


@pytest.mark.host
def test_every_problem_is_told_at_once(file: Path) -> None:
    file.write_text('[serve]\nlog_level = "loud"\n\n[runtime]\npath = "nothing"\n')
    done = orlop("serve", "--check-config", *_folders(file), "--output", "json", code=2)
    assert done.stdout.count('"subject"') == 2


@pytest.mark.host
def test_a_network_whose_plugin_is_missing_is_told(file: Path) -> None:
    folder = file.parent / "net.d"
    folder.mkdir()
    (folder / "1.conflist").write_text(
        '{"cniVersion": "1.0.0", "name": "n", "plugins": [{"type": "nothere"}]}'
    )
    file.write_text(f'[network]\nconfig_dir = "{folder}"\n')
    assert "CNI plugin nothere" in orlop("serve", "--check-config", *_folders(file), code=2).stderr


@pytest.mark.host
def test_what_is_served_in_process_needs_no_plugin(file: Path) -> None:
    folder = file.parent / "net.d"
    folder.mkdir()
    bridge = {"type": "bridge", "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.1.0.0/24"}]]}}
    listed = {"cniVersion": "1.0.0", "name": "n", "plugins": [bridge]}
    (folder / "1.conflist").write_text(json.dumps(listed))
    file.write_text(f'[network]\nconfig_dir = "{folder}"\nplugin_dirs = ["/no/such/folder"]\n')
    assert "is right" in orlop("serve", "--check-config", *_folders(file)).stdout


def test_the_units_name_the_program_that_wrote_them(tmp_path: Path) -> None:
    written = orlop("serve", "--systemd-units", str(tmp_path)).stdout.split()
    assert written == [str(tmp_path / "orlop.service"), str(tmp_path / "orlop.socket")]
    service = (tmp_path / "orlop.service").read_text()
    [start] = [line for line in service.splitlines() if line.startswith("ExecStart=")]
    program = start.removeprefix("ExecStart=").split()[0]
    assert program != "/usr/bin/orlop"
    assert Path(program).exists()
    for line in ("Type=notify", "KillMode=process", "Delegate=yes", "OOMScoreAdjust=-999", "WatchdogSec=60"):
        assert line in service.splitlines()
    assert "no folder" in orlop("serve", "--systemd-units", str(tmp_path / "none"), code=2).stderr
