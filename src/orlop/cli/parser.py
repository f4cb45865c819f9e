"""Command lines: which command it is, and argparse as Orlop wants it (one look, our errors, cheap to build).

Only the parser of the command that runs is ever built; `orlop run` has no time for the others.
"""

from __future__ import annotations

import argparse
import os

from orlop.cli.commands import ALIASES, COMMANDS, NOUNS
from orlop.kit.errors import InvalidInput

TYPE_CHECKING = False  # as typing's
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn, Protocol

    from orlop.cli.context import Context

    class Command(Protocol):
        """What a command's module offers. Contract: importing it imports nothing that only `run` needs."""

        DESCRIPTION: str
        EXAMPLES: tuple[str, ...]
        # JSON: str, where there is such output: what it holds, for docs/cli.md

        @staticmethod
        def add_arguments(parser: Parser) -> None: ...

        @staticmethod
        def run(context: Context, arguments: argparse.Namespace) -> int: ...


# argparse asks gettext for each heading, which imports locale and looks for catalogues on disk; none exist.
vars(argparse)["_"] = str

#: Options of every command that take a value; they may also stand before the command's words.
_GLOBAL_VALUES = ("--root", "--state", "--config", "--output", "-o")
_GLOBAL_SWITCHES = ("--verbose", "-v", "--help", "-h")


class Formatter(argparse.RawDescriptionHelpFormatter):
    """Help as wide as the terminal, at most 110 columns. (argparse's own way to ask imports shutil.)"""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=30, width=_columns())


class Parser(argparse.ArgumentParser):
    """argparse that raises InvalidInput and knows its command's words, options and examples."""

    def __init__(self, words: tuple[str, ...], description: str, examples: Sequence[str] = ()) -> None:
        self.words = words
        self.examples = tuple(examples)
        self.joined: set[str] = set()  # options whose value, if any, is joined to them by "="
        self.exit_usage = 2  # `run` and `exec` leave with 125, as podman and docker do
        super().__init__(
            prog=" ".join(("orlop", *words)),
            description=description,
            formatter_class=Formatter,
            allow_abbrev=False,
            add_help=False,
        )

    def actions(self) -> list[argparse.Action]:
        """Every option and positional that is shown to people."""
        return [action for action in self._actions if action.help != argparse.SUPPRESS]

    def has(self, option: str) -> bool:
        return option in self._option_string_actions

    def parse(self, arguments: Sequence[str]) -> argparse.Namespace:
        """Parse; where the last positional is REMAINDER, all that follows the first positional is its.

        Raises InvalidInput.
        """
        arguments = [f"{word}=" if word in self.joined else word for word in arguments]
        rest = next((a for a in self._actions if a.nargs == argparse.REMAINDER), None)
        first = None if rest is None else self._first_positional(arguments)
        if rest is None or first is None:
            return self.parse_args(arguments)
        own = [*arguments[:first], *(() if "--" in arguments[:first] else ("--",)), arguments[first]]
        namespace = self.parse_args(own)
        setattr(namespace, rest.dest, list(arguments[first + 1 :]))
        return namespace

    def own(self, arguments: Sequence[str]) -> Sequence[str]:
        """Without what belongs to a container."""
        takes_all = any(action.nargs == argparse.REMAINDER for action in self._actions)
        return arguments[: self._first_positional(arguments)] if takes_all else arguments

    def _first_positional(self, arguments: Sequence[str]) -> int | None:
        """Where options end. (argparse's own REMAINDER differs between Python versions in `--`.)"""
        index = 0
        while index < len(arguments):
            word = arguments[index]
            if word == "--":
                return index + 1 if index + 1 < len(arguments) else None
            if not word.startswith("-") or word == "-":
                return index
            index += 2 if self._takes_next(word) else 1
        return None

    def _takes_next(self, word: str) -> bool:
        if word.startswith("--"):
            action = self._option_string_actions.get(word)
            return action is not None and action.nargs != 0
        for position in range(1, len(word)):
            action = self._option_string_actions.get("-" + word[position])
            if action is None:
                return False
            if action.nargs != 0:
                return position == len(word) - 1
        return False

    def error(self, message: str) -> NoReturn:
        raise InvalidInput(self.prog, message, hint=f"see: {self.prog} --help")

    def format_usage(self) -> str:
        return f"usage: {self.synopsis()}\n"

    def synopsis(self) -> str:
        """`orlop image pull [options] NAME ...`"""
        positionals = [shape(action) for action in self.actions() if not action.option_strings]
        return " ".join((self.prog, "[options]", *positionals))

    def format_help(self) -> str:
        self.usage = self.synopsis().replace("%", "%%")
        if self.examples:
            self.epilog = "examples:\n" + "\n".join(f"  {line}" for line in self.examples)
        return super().format_help()


def shape(action: argparse.Action) -> str:
    """How an argument is written: `NAME`, `[NAME ...]`, `NAME [NAME ...]`; for an option, its value."""
    name = action.metavar if isinstance(action.metavar, str) else action.dest.upper()
    if action.choices is not None and action.metavar is None:
        name = "|".join(str(choice) for choice in action.choices)
    forms = {"?": f"[{name}]", "*": f"[{name} ...]", "+": f"{name} [{name} ...]"}
    forms[argparse.REMAINDER] = f"[{name} ...]"
    return forms.get(str(action.nargs), name)


def add_globals(parser: Parser) -> None:
    """The options that every command takes. Defaults are the environment's; context.py reads that."""
    group = parser.add_argument_group("options of every command")
    add = group.add_argument
    add("--root", metavar="DIR", help="what a reboot keeps (ORLOP_ROOT; /var/lib/orlop)")
    add("--state", metavar="DIR", help="what a reboot forgets (ORLOP_STATE; /run/orlop)")
    if not parser.has("--config"):
        add("--config", metavar="FILE", help="configuration (ORLOP_CONFIG; /etc/orlop/orlop.toml)")
    brief = () if parser.has("-o") else ("-o",)
    if not parser.has("--output"):  # `build` takes more than these two
        add(
            *("--output", *brief),
            choices=("table", "json"),
            default="table",
            help="for people, or for programs",
        )
    short = () if parser.has("-v") else ("-v",)
    add("--verbose", *short, action="store_true", help="say on standard error what is done")
    add("--help", "-h", action="help", help="print this and leave")


def load(words: tuple[str, ...]) -> Command:
    """The module of a command. `words` are a key of COMMANDS."""
    import importlib

    module: Command = importlib.import_module("orlop.cli." + COMMANDS[words][0])  # type: ignore[assignment]
    return module


def build(words: tuple[str, ...], command: Command | None = None) -> Parser:
    """The parser of one command."""
    command = command or load(words)
    summary = COMMANDS[words][1] + "."
    description = f"{summary}\n\n{command.DESCRIPTION}" if command.DESCRIPTION else summary
    parser = Parser(words, description, command.EXAMPLES)
    command.add_arguments(parser)
    add_globals(parser)
    return parser


def command_line(arguments: Sequence[str]) -> tuple[tuple[str, ...], list[str]]:
    """The command (a key of COMMANDS) and everything else in its order.

    Nothing, `--help` and a noun's `--help` become `help`; `--version` becomes `version`.
    Raises InvalidInput for an unknown command and for half of one.
    """
    words, rest = _split(arguments)
    if words in COMMANDS:
        return words, rest
    questions = ("--help", "-h")
    others = [word for word in rest if word not in (*questions, "--version")]
    if "--version" in rest:
        return ("version",), others
    if words and not any(word in questions for word in rest):
        verbs = ", ".join(known[1] for known in COMMANDS if known[0] == words[0] and len(known) > 1)
        hint = f"one of: {verbs}; see: orlop help {words[0]}"
        raise InvalidInput(f"orlop {words[0]}", "what with it?", hint=hint)
    return ("help",), [*others, *words]


def own_part(arguments: Sequence[str]) -> Sequence[str]:
    """What of a command line is for Orlop itself, not for the program in the container."""
    try:
        words, rest = command_line(arguments)
        return build(words).own(rest)
    except (InvalidInput, ImportError):
        return arguments


def words_of(arguments: Sequence[str]) -> tuple[str, ...]:
    """The command, () where there is none."""
    try:
        return _split(arguments)[0]
    except InvalidInput:
        return ()


def _split(arguments: Sequence[str]) -> tuple[tuple[str, ...], list[str]]:
    """The words (a key of COMMANDS, a noun alone, or none) and the rest."""
    words: tuple[str, ...] = ()
    options: list[str] = []
    index = 0
    while index < len(arguments):
        word = arguments[index]
        if word.startswith("-"):
            taken = 2 if word in _GLOBAL_VALUES else 1
            _expect_global(word)
            # Before the command `-v` is always --verbose; `run` has another -v.
            given = ["--verbose" if word == "-v" else word, *arguments[index + 1 : index + taken]]
            # Joined: `image inspect` has a --config of its own, which takes nothing.
            options += ["=".join(given)] if word == "--config" else given
            index += taken
            continue
        words = ALIASES.get((*words, word), (*words, word))
        index += 1
        if words in COMMANDS:
            return words, options + list(arguments[index:])
        if len(words) > 1 or word not in NOUNS:
            raise _unknown(words)
    return words, options


def _expect_global(word: str) -> None:
    if word.partition("=")[0] not in _GLOBAL_VALUES + _GLOBAL_SWITCHES + ("--version",):
        raise InvalidInput(
            "orlop",
            f"no option `{word}` before a command",
            hint="put it behind the command, or see: orlop help",
        )


def _unknown(words: tuple[str, ...]) -> InvalidInput:
    import difflib

    known = sorted(
        {w[len(words) - 1] for w in COMMANDS if w[: len(words) - 1] == words[:-1] and len(w) >= len(words)}
    )
    prefix = " ".join(("orlop", *words[:-1]))
    near = difflib.get_close_matches(words[-1], known, n=1, cutoff=0.5)
    hint = f"did you mean: {prefix} {near[0]}" if near else f"one of: {', '.join(known)}"
    return InvalidInput(prefix, f"no command `{words[-1]}`", hint=hint)


def _columns() -> int:
    try:
        wide = int(os.environ.get("COLUMNS", "0")) or os.get_terminal_size(1).columns
    except (ValueError, OSError):
        wide = 100
    return max(40, min(wide, 110)) - 2
