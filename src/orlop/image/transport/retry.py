"""When to ask a server again, and after how long."""

from __future__ import annotations

import email.utils
import random
import time

from orlop.image.settings import ImageSettings
from orlop.kit import limits

#: Statuses that another attempt may turn into an answer.
PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})


def pause(settings: ImageSettings, attempt: int) -> float:
    """Seconds before attempt `attempt` + 1 (the first attempt is 1): doubled each time, with half jitter."""
    full = min(settings.backoff_max, settings.backoff * 2.0 ** min(attempt - 1, 30))
    return full * random.uniform(0.5, 1.0)  # noqa: S311 (spreads clients, guards nothing)


def asked_for(retry_after: str) -> float | None:
    """Seconds that a Retry-After header asks for (a number or a date); None where it says nothing usable."""
    text = retry_after.strip()
    if text.isascii() and text.isdigit() and len(text) < 10:
        return float(text)
    try:
        moment = email.utils.parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None
    return max(0.0, moment - time.time())


def too_long(seconds: float) -> bool:
    """Whether a server asks for more patience than a pull has."""
    return seconds > limits.HTTP_RETRY_AFTER_MAX
