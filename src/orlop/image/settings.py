"""Section [image] of the configuration file."""

from __future__ import annotations

from orlop.kit import limits
from orlop.kit.value import dataclass


@dataclass(frozen=True)
class ImageSettings:
    """How images are pulled: counts, and times in seconds."""

    parallel_blobs: int = limits.PARALLEL_BLOBS
    connect_timeout: float = limits.HTTP_CONNECT_TIMEOUT
    read_timeout: float = limits.HTTP_READ_TIMEOUT
    attempts: int = limits.HTTP_ATTEMPTS
    backoff: float = limits.HTTP_BACKOFF
    backoff_max: float = limits.HTTP_BACKOFF_MAX
