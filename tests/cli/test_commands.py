"""The table of commands and what every row owes its users."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from orlop.cli import man, reference
from orlop.cli.commands import ALIASES, COMMANDS, NOUNS
from orlop.cli.completion import script
from orlop.cli.parser import build, command_line
from orlop.kit.errors import InvalidInput
from tests.cli.program import orlop

ROOT = Path(__file__).parents[2]
ROWS = [pytest.param(words, id=" ".join(words)) for words in COMMANDS]


@pytest.mark.parametrize("words", ROWS)
def test_every_command_explains_itself_with_an_example(words: tuple[str, ...]) -> None:
    parser = build(words)
    text = parser.format_help()
    assert COMMANDS[words][1] in text
    assert parser.examples
    assert text.rstrip().endswith(parser.examples[-1])
    assert all(action.help for action in parser.actions())


@pytest.mark.parametrize("words", ROWS)
def test_every_example_parses_with_its_own_parser(words: tuple[str, ...]) -> None:
    for example in build(words).examples:
        program, *rest = shlex.split(example)
        assert program == "orlop"
        if rest == ["--version"]:
            continue
        found, arguments = command_line(rest)
        assert found == words
        build(words).parse(arguments)


def test_summaries_and_nouns_are_one_line_each() -> None:
    for _, summary in COMMANDS.values():
        assert summary
        assert "\n" not in summary
        assert not summary.endswith(".")
    assert {words[0] for words in COMMANDS if len(words) > 1} == set(NOUNS)
    assert set(ALIASES.values()) <= set(COMMANDS)


def test_the_page_of_commands_is_current() -> None:
    assert (ROOT / "docs" / "cli.md").read_text(encoding="utf-8") == reference.markdown(), "run: make docs"


def test_manual_pages_render_without_a_complaint(tmp_path: Path) -> None:
    pages = man.pages()
    assert len(pages) == len(COMMANDS) + 1
    for name, text in pages.items():
        assert ".SH EXAMPLES" in text or name == "orlop.1"
        assert text.startswith(f".TH {name.removesuffix('.1').upper()} ".replace("-", "\\-"))
        (tmp_path / name).write_text(text, encoding="utf-8")
    groff = next((p for p in ("/usr/bin/groff", "/usr/bin/mandoc") if os.path.exists(p)), None)
    if groff is None:
        return
    for name in pages:
        done = subprocess.run(
            [groff, "-man", "-Tutf8", "-ww", str(tmp_path / name)],
            capture_output=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
def test_completion_scripts_know_every_verb(shell: str) -> None:
    text = script(shell)
    for words in COMMANDS:
        assert words[-1] in text


def test_the_completion_script_of_bash_is_accepted_by_bash() -> None:
    done = subprocess.run(["bash", "-n"], input=script("bash").encode(), capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def test_help_lists_every_command() -> None:
    text = orlop().stdout
    for words, (_, summary) in COMMANDS.items():
        assert words[-1] in text
        assert len(words) > 1 or summary in text
    assert orlop("--help").stdout == orlop("help").stdout == text


def test_help_of_a_noun_lists_its_verbs() -> None:
    assert "Fetch images" in orlop("image", "--help").stdout
    assert orlop("help", "image").stdout == orlop("image", "--help").stdout


def test_help_of_a_command_is_the_same_by_both_ways() -> None:
    assert orlop("help", "image", "pull").stdout == orlop("image", "pull", "--help").stdout


def test_what_podmans_users_type_is_understood() -> None:
    for words in ("pull", "push", "images", "rmi", "tag", "history", "save", "load", "import", "login"):
        assert "usage: orlop image " in orlop(words, "--help").stdout


def test_a_near_miss_is_answered_with_what_was_meant() -> None:
    assert "did you mean: orlop image" in orlop("imgae", code=2).stderr
    assert "did you mean: orlop image pull" in orlop("image", "pul", code=2).stderr
    assert "one of: check, down" in orlop("node", "zzzzzz", code=2).stderr


def test_half_a_command_is_an_error_that_lists_the_other_halves() -> None:
    failed = orlop("store", code=2)
    assert failed.stdout == ""
    assert "check, df, prune" in failed.stderr


def test_an_unknown_option_names_the_help() -> None:
    assert "hint: see: orlop ps --help" in orlop("ps", "--frobnicate", code=2).stderr


def test_errors_are_json_where_json_was_asked_for() -> None:
    import json

    told = json.loads(orlop("--output", "json", "image", "frob", code=2).stderr)
    assert told["error"] == "InvalidInput"
    assert set(told) == {"error", "subject", "cause", "hint"}


def test_the_program_runs_as_a_module_too() -> None:
    done = subprocess.run([sys.executable, "-m", "orlop", "version"], capture_output=True, check=True)
    assert done.stdout.decode().startswith("orlop ")


def test_a_reader_that_goes_away_is_no_error_message() -> None:
    done = subprocess.run(
        ["bash", "-c", f"{shlex.quote(sys.executable)} -m orlop help run | head -1; echo ${{PIPESTATUS[0]}}"],
        capture_output=True,
        check=True,
    )
    assert done.stderr == b""
    assert done.stdout.split()[-1] in (b"0", b"141")


def test_global_options_are_taken_before_and_behind_the_command() -> None:
    before = command_line(["--root", "/a", "--output=json", "image", "--state", "/b", "list", "-q"])
    assert before == (("image", "list"), ["--root", "/a", "--output=json", "--state", "/b", "-q"])
    parsed = build(("image", "list")).parse([*before[1], "--config", "/c"])
    assert (parsed.root, parsed.state, parsed.config, parsed.output) == ("/a", "/b", "/c", "json")


def test_v_is_verbose_before_the_command_and_a_volume_behind_run() -> None:
    words, rest = command_line(["-v", "run", "-v", "/tmp:/x", "busybox"])
    parsed = build(words).parse(rest)
    assert parsed.verbose is True
    assert parsed.volume == ["/tmp:/x"]


@pytest.mark.parametrize(
    ("given", "image", "command"),
    [
        (["busybox"], "busybox", []),
        (["busybox", "ls", "-l"], "busybox", ["ls", "-l"]),
        (["-it", "busybox", "sh", "--help"], "busybox", ["sh", "--help"]),
        (["--rm", "busybox", "sh", "-c", "x --rm", "--", "y"], "busybox", ["sh", "-c", "x --rm", "--", "y"]),
        (["-e", "A=1", "-eB=2", "-ie", "C=3", "busybox", "env", "-e"], "busybox", ["env", "-e"]),
        (["--name=x", "--network", "none", "busybox", "--output", "json"], "busybox", ["--output", "json"]),
        (["--rm", "--", "busybox", "-x"], "busybox", ["-x"]),
    ],
)
def test_everything_behind_the_image_belongs_to_the_container(
    given: list[str], image: str, command: list[str]
) -> None:
    parsed = build(("run",)).parse(given)
    assert (parsed.image, parsed.command) == (image, command)


def test_run_without_an_image_is_a_usage_error_of_run() -> None:
    with pytest.raises(InvalidInput, match="IMAGE"):
        build(("run",)).parse(["--rm"])
    assert orlop("run", "--rm", code=125).stderr.startswith("error: orlop run: ")


def test_json_behind_the_image_does_not_change_how_orlop_speaks(tmp_path: Path) -> None:
    folders = ("--root", str(tmp_path / "r"), "--state", str(tmp_path / "s"))
    failed = orlop("run", *folders, "--pull=never", "no-such-image", "tool", "--output", "json", code=125)
    assert failed.stderr.startswith("error: ")
