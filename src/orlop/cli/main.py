"""The entry point: find the command, import only that, run it, turn errors into exit codes."""

from __future__ import annotations

import gc
import os
import sys

TYPE_CHECKING = False  # as typing's; neither it nor collections.abc is imported on the way to `run`
if TYPE_CHECKING:
    from collections.abc import Sequence

_INTERRUPTED = 130  # 128 + SIGINT, as shells have it
_PIPE_CLOSED = 141  # 128 + SIGPIPE


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line; returns the exit code (docs/exit-codes.md)."""
    _hold_standard_streams()
    code = _guarded(sys.argv[1:] if argv is None else argv)
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        code = _PIPE_CLOSED
    if code == _PIPE_CLOSED:
        # Whoever read our output has enough; the interpreter must not complain when it closes the stream.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return code


def _hold_standard_streams() -> None:
    """Where our caller closed one of 0, 1, 2, a database must not become "standard output"."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is this one
    if sys.stdout is None or sys.stderr is None:
        sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115 (the interpreter's to close)
        sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115


def _guarded(given: Sequence[str]) -> int:
    try:
        return _dispatch(given)
    except SystemExit as end:  # argparse's --help
        return int(end.code or 0)
    except BrokenPipeError:
        return _PIPE_CLOSED
    except KeyboardInterrupt:
        return _INTERRUPTED
    except Exception as error:  # the last net: a user never meets a bare traceback
        from orlop.cli.errors import report

        return report(error, given)


def _dispatch(given: Sequence[str]) -> int:
    from orlop.cli.context import Context
    from orlop.cli.parser import build, command_line, load

    gc.disable()  # what is imported stays; collecting garbage meanwhile finds none and costs 2 ms
    words, rest = command_line(given)
    command = load(words)
    arguments = build(words, command).parse(rest)
    context = Context.of(arguments)
    if context.verbose:
        import logging

        from orlop.kit.log import to_stderr

        to_stderr(level=logging.DEBUG)
    if words != ("run",):  # which goes on importing, and does this itself
        gc.enable()
    return command.run(context, arguments)
