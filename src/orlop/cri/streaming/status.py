"""How a command ended, in the words that Kubernetes' clients read (meta/v1.Status as JSON)."""

from __future__ import annotations

import json

from orlop.kit.errors import OrlopError
from orlop.kit.value import dataclass

_INTERNAL = 500


@dataclass(frozen=True)
class Outcome:
    """`message` is empty after success. `exit_code` is None where there was none: the command never ran."""

    exit_code: int | None
    message: str = ""

    def as_json(self) -> bytes:
        """For the fourth protocol and later ones."""
        if self.exit_code == 0:
            return json.dumps({"metadata": {}, "status": "Success"}).encode()
        if self.exit_code is not None:
            value: dict[str, object] = {
                "reason": "NonZeroExitCode",
                "details": {"causes": [{"reason": "ExitCode", "message": str(self.exit_code)}]},
            }
        else:
            value = {"reason": "InternalError", "code": _INTERNAL}
        common = {"metadata": {}, "status": "Failure", "message": self.message}
        return json.dumps({**common, **value}).encode()


SUCCESS = Outcome(0)


def exited(code: int) -> Outcome:
    return Outcome(code, f"command terminated with non-zero exit code: {code}") if code else SUCCESS


def failed(what: str, error: OrlopError) -> Outcome:
    """It could not be done at all."""
    return Outcome(None, f"Internal error occurred: {what}: {error}")
