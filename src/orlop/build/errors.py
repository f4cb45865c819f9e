"""What can go wrong in a build beside what its parts say themselves."""

from __future__ import annotations

from orlop.build.containerfile.model import Place
from orlop.kit.errors import InvalidInput, OrlopError, Unsupported


class StepFailed(OrlopError):
    """A RUN ended with another exit code than 0. `code` is it, `output` the command's last lines."""

    def __init__(self, subject: str, cause: str, *, hint: str, code: int, output: str) -> None:
        super().__init__(subject, cause, hint=hint)
        self.code = code
        self.output = output


def refused(place: Place, cause: str, hint: str) -> Unsupported:
    return Unsupported(str(place), cause, hint=hint)


def wrong(place: Place, cause: str, hint: str) -> InvalidInput:
    return InvalidInput(str(place), cause, hint=hint)
