"""`Watching`: a daemon's observer; every request gets an ID, a log line, and its share of the figures."""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Iterator

from orlop.cri.observer import Metadata, Observer, Seen
from orlop.kit import log

TYPE_CHECKING = False  # their libraries are imported only where they are configured
if TYPE_CHECKING:
    from orlop.cri.operate.metrics import Metrics
    from orlop.cri.operate.tracing import Tracing

_log = logging.getLogger("orlop.cri.request")

#: What fails in the course of ordinary life: asking for what is gone, a client that goes away.
_ORDINARY = ("NOT_FOUND", "CANCELLED")
_QUERIES = ("List", "Stream", "Get", "Version", "RuntimeConfig")
_EXECS = {"ExecSync": "sync", "Exec": "stream"}


class Watching(Observer):
    """Logs every request (queries at `debug`), counts and traces it where that is configured."""

    def __init__(self, metrics: Metrics | None = None, tracing: Tracing | None = None) -> None:
        self.metrics = metrics
        self.tracing = tracing

    @contextlib.contextmanager
    def request(self, method: str, about: str = "", metadata: Metadata = ()) -> Iterator[Seen]:
        seen = Seen(method)
        begun = time.monotonic()
        fields = {"request": os.urandom(6).hex(), "method": method}
        if about:
            fields["about"] = about
        with contextlib.ExitStack() as around:
            if self.tracing is not None:
                with contextlib.suppress(Exception):
                    trace = around.enter_context(self.tracing.request(seen, about, metadata))
                    fields |= {"trace": trace} if trace else {}
            around.enter_context(log.bound(**fields))
            self._begun(method)
            try:
                yield seen
            finally:
                with contextlib.suppress(Exception):
                    self._ended(seen, time.monotonic() - begun)

    def pulled(self, name: str, *, size: int, seconds: float, code: str = "OK") -> None:
        with contextlib.suppress(Exception):
            if code == "OK":
                rate = {"fields": {"image": name, "bytes": size, "seconds": round(seconds, 3)}}
                _log.info("pulled", extra=rate)
            if self.metrics is not None:
                self.metrics.pull(size=size, seconds=seconds, code=code)
            if self.tracing is not None:
                self.tracing.pulled(name, size=size, seconds=seconds, code=code)

    def ended(self, container_id: str, *, exit_code: int, oom_killed: bool) -> None:
        with contextlib.suppress(Exception):
            what = "container ran out of memory" if oom_killed else "container ended"
            _log.info(what, extra={"fields": {"container": container_id, "exit_code": exit_code}})
            if self.metrics is not None:
                self.metrics.exit(exit_code=exit_code, oom_killed=oom_killed)

    def _begun(self, method: str) -> None:
        if self.metrics is not None:
            self.metrics.in_flight.labels(method).inc()

    def _ended(self, seen: Seen, seconds: float) -> None:
        level = _level(seen)
        if _log.isEnabledFor(level):
            fields: dict[str, object] = {"code": seen.code, "seconds": round(seconds, 4)}
            _log.log(level, "done" if seen.error is None else str(seen.error), extra={"fields": fields})
        if self.metrics is None:
            return
        self.metrics.in_flight.labels(seen.method).dec()
        self.metrics.requests.labels(seen.method, seen.code).observe(seconds)
        if seen.code != "OK":
            self.metrics.errors.labels(seen.method, seen.code).inc()
        if seen.method in _EXECS and seen.code == "OK":
            self.metrics.execs.labels(_EXECS[seen.method]).inc()


def is_query(method: str) -> bool:
    """Whether the method changes nothing: the kubelet asks these all the time."""
    return method.startswith(_QUERIES) or method.endswith(("Status", "Stats", "Info"))


def _level(seen: Seen) -> int:
    if seen.code == "OK":
        return logging.DEBUG if is_query(seen.method) or seen.method == "ExecSync" else logging.INFO
    if seen.code in _ORDINARY:
        return logging.DEBUG if is_query(seen.method) else logging.INFO
    return logging.WARNING
