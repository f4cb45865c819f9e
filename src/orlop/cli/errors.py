"""How a failure is told: `error: SUBJECT: CAUSE`, `hint: HINT`, on standard error; JSON if that was asked."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from orlop.kit.errors import Denied, InvalidInput, OrlopError, Unavailable

#: What `run` and `exec` leave with when Orlop failed, as podman(1) and docker(1) have it.
OWN_FAILURE = 125
CANNOT_INVOKE = 126
NOT_FOUND = 127


def report(error: Exception, given: Sequence[str]) -> int:
    """Print `error` on standard error; returns the exit code for the command line `given`."""
    told = _explained(error)
    if told is None:
        told = OrlopError(
            "orlop",
            f"internal error: {type(error).__name__}: {error}",
            hint="this is a bug of Orlop: report it with what ORLOP_DEBUG=1 prints",
        )
    from orlop.cli.parser import own_part

    own = own_part(given)
    show(told, as_json=_wants_json(own))
    if os.environ.get("ORLOP_DEBUG") or (told is not error and "--verbose" in own):
        import traceback

        traceback.print_exception(error, file=sys.stderr)
    return exit_code(told, given)


def show(error: OrlopError, *, as_json: bool) -> None:
    """Print one error, and go on."""
    if as_json:
        import json

        print(json.dumps(error.as_json()), file=sys.stderr, flush=True)
    else:
        from orlop.cli.output import printable

        text = f"error: {error}\nhint: {error.hint}"  # what others wrote must not steer the terminal
        print("\n".join(printable(line) for line in text.split("\n")), file=sys.stderr, flush=True)


def exit_code(error: OrlopError, given: Sequence[str]) -> int:
    """The error's own, except where the container's exit code is the answer (`run`, `exec`)."""
    from orlop.cli.parser import words_of

    if words_of(given) not in (("run",), ("exec",)):
        return error.exit_code
    from orlop.runtime.errors import CommandDenied, CommandNotFound

    if isinstance(error, CommandNotFound):
        return NOT_FOUND
    return CANNOT_INVOKE if isinstance(error, CommandDenied) else OWN_FAILURE


def _explained(error: Exception) -> OrlopError | None:
    """The system's own refusals in our words; None for what nobody foresaw."""
    if isinstance(error, OrlopError):
        return error
    if not isinstance(error, OSError) or error.errno is None:
        return None
    import errno

    subject = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else "the system"
    cause = error.strerror or os.strerror(error.errno)
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        hint = "run it as root" if os.geteuid() != 0 else "see who may use it, and how it is mounted"
        return Denied(subject, cause, hint=hint)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Unavailable(subject, cause, hint="make room (orlop store prune may help), then do it again")
    if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG):
        return InvalidInput(subject, cause, hint="see that the path is what you mean")
    return None


def _wants_json(given: Sequence[str]) -> bool:
    from itertools import pairwise

    if any(word in ("--output=json", "-ojson") for word in given):
        return True
    return any(option in ("--output", "-o") and value == "json" for option, value in pairwise(given))
