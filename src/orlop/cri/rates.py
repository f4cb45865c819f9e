"""CPU in use now, from counts of CPU time used so far."""

from __future__ import annotations

import threading
import time

_WINDOW = 1.0  # seconds: a shorter one says more about the clock than about the container
_FORGET = 600.0  # seconds without a reading
_MANY = 1024


class Rates:
    """The last readings of each container and pod. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._readings: dict[str, tuple[tuple[float, int], tuple[float, int]]] = {}  # ID: (older, newer)

    def nano_cores(self, identifier: str, moment: float, used: int, *, since: float) -> int | None:
        """Nanoseconds of CPU per second (1e9 is one whole core) since an earlier reading.

        `used` is the CPU time in nanoseconds at `moment`; without an earlier reading it is averaged over the
        time since `since`, when the container started (0: unknown, then the answer is None).
        """
        with self._lock:
            older, newer = self._readings.get(identifier, ((since, 0), (since, 0)))
            if used < newer[1]:  # counted anew, in a new cgroup
                self._readings[identifier] = ((moment, used), (moment, used))
                return None
            base = newer if moment - newer[0] >= _WINDOW else older
            if moment - newer[0] >= _WINDOW or identifier not in self._readings:
                self._readings[identifier] = (newer, (moment, used))
                self._forget()
        passed = moment - base[0]
        return int((used - base[1]) / passed) if base[0] > 0 and passed > 0 else None

    def _forget(self) -> None:
        if len(self._readings) > _MANY:
            oldest = time.time() - _FORGET
            self._readings = {key: pair for key, pair in self._readings.items() if pair[1][0] >= oldest}
