"""The error tree of Orlop.

    OrlopError               exit 1    anything that a user meets
     ├─ InvalidInput         exit 2    what was asked for is malformed or contradicts itself
     ├─ NotFound             exit 3    the named object does not exist
     ├─ Conflict             exit 4    the object exists, is in use, or is in the wrong state
     ├─ Denied               exit 5    credentials, policy or a blocked registry forbid it
     ├─ Unavailable          exit 6    a registry, process or service does not answer; again later may help
     │   └─ TimedOut         exit 6    it did not answer within its time limit
     ├─ Corrupt              exit 7    bytes are not what their digest, size or format says
     ├─ LimitExceeded        exit 8    a bound of kit.limits or of the configuration is reached
     ├─ Unsupported          exit 9    this machine, kernel or runtime cannot do it
     ├─ ProcessFailed        exit 1    a program that Orlop ran said no
     └─ Cancelled            exit 130  the caller, or the user's ^C, ended it

Every error says what happened (``cause``), to what (``subject``) and what to do (``hint``). Packages
subclass these; the class decides the exit code, so that scripts can tell the kinds apart.
``tests/kit/test_errors.py`` holds this picture against the classes.
"""

from __future__ import annotations


class OrlopError(Exception):
    """Anything that a user meets. `subject` is the object's name, `hint` an instruction."""

    exit_code = 1

    def __init__(self, subject: str, cause: str, *, hint: str) -> None:
        super().__init__(subject, cause)
        self.subject = subject
        self.cause = cause
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.subject}: {self.cause}"

    def as_json(self) -> dict[str, str]:
        """The form that `--output json` prints on standard error: of the kinds in docs/exit-codes.md."""
        return {
            "error": next(kind.__name__ for kind in type(self).__mro__ if kind.__module__ == __name__),
            "subject": self.subject,
            "cause": self.cause,
            "hint": self.hint,
        }


class InvalidInput(OrlopError):
    exit_code = 2


class NotFound(OrlopError):
    exit_code = 3


class Conflict(OrlopError):
    exit_code = 4


class Denied(OrlopError):
    exit_code = 5


class Unavailable(OrlopError):
    exit_code = 6


class TimedOut(Unavailable):
    pass


class Corrupt(OrlopError):
    exit_code = 7


class LimitExceeded(OrlopError):
    exit_code = 8


class Unsupported(OrlopError):
    exit_code = 9


class Cancelled(OrlopError):
    exit_code = 130


class ProcessFailed(OrlopError):
    """A child ended with a non-zero status; `argv` can be pasted into a shell, `stderr` is its last words."""

    def __init__(
        self, subject: str, cause: str, *, hint: str, argv: tuple[str, ...], status: int, stderr: str
    ) -> None:
        super().__init__(subject, cause, hint=hint)
        self.argv = argv
        self.status = status
        self.stderr = stderr
