"""Section [image] of the configuration file."""

from __future__ import annotations

from orlop.kit import limits
from orlop.kit.errors import InvalidInput
from orlop.kit.value import dataclass


@dataclass(frozen=True)
class ImageSettings:
    """How images are pulled: counts, and times in seconds. Raises InvalidInput for what cannot work."""

    parallel_blobs: int = limits.PARALLEL_BLOBS
    connect_timeout: float = limits.HTTP_CONNECT_TIMEOUT
    read_timeout: float = limits.HTTP_READ_TIMEOUT
    attempts: int = limits.HTTP_ATTEMPTS
    backoff: float = limits.HTTP_BACKOFF
    backoff_max: float = limits.HTTP_BACKOFF_MAX
    policy: str = ""  # a policy.json that must be there; "": the usual places, and none accepts everything

    def __post_init__(self) -> None:
        for key, value in vars(self).items():
            if not isinstance(value, str) and value <= 0:
                raise InvalidInput(f"[image] {key}", f"is {value:g}", hint="give it a number above zero")
