"""OpenTelemetry spans of requests and pulls. Imported only where a collector is configured.

The kubelet sends the W3C trace context (`traceparent`) with its calls: a request's span becomes part of that
trace. What a trace is sent to may be absent or slow: spans wait in a bounded queue, then are dropped.
"""

from __future__ import annotations

import contextlib
import contextvars
import socket
import time
from collections.abc import Iterator

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import Span, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from orlop import __version__
from orlop.cri.observer import Metadata, Seen
from orlop.cri.operate.settings import TracingSettings
from orlop.kit import limits

_KEYS = ("traceparent", "tracestate")
_span: contextvars.ContextVar[Span | None] = contextvars.ContextVar("span", default=None)


class Tracing:
    """The spans of one daemon. Thread-safe."""

    def __init__(self, settings: TracingSettings) -> None:
        resource = Resource.create(
            {
                "service.name": "orlop",
                "service.version": __version__,
                "host.name": socket.gethostname(),
            }
        )
        sampler = ParentBased(TraceIdRatioBased(settings.sampling))
        self._provider = TracerProvider(sampler=sampler, resource=resource, shutdown_on_exit=False)
        exporter = OTLPSpanExporter(endpoint=settings.endpoint, insecure=settings.insecure, timeout=5)
        self._exporter = BatchSpanProcessor(
            exporter, max_queue_size=limits.TRACE_QUEUE, schedule_delay_millis=1000
        )
        self._provider.add_span_processor(self._exporter)
        self._tracer = self._provider.get_tracer("orlop.cri", __version__)
        self._propagator = TraceContextTextMapPropagator()

    @contextlib.contextmanager
    def request(self, seen: Seen, about: str, metadata: Metadata) -> Iterator[str]:
        """The span of one RPC; yields its trace's ID ("" where it is not recorded)."""
        service = "ImageService" if _is_image(seen.method) else "RuntimeService"
        span = self._tracer.start_span(
            f"runtime.v1.{service}/{seen.method}",
            context=self._parent(metadata),
            kind=SpanKind.SERVER,
            attributes={
                "rpc.system": "grpc",
                "rpc.service": f"runtime.v1.{service}",
                "rpc.method": seen.method,
                "orlop.about": about,
            },
        )
        token = _span.set(span)
        try:
            yield f"{span.get_span_context().trace_id:032x}" if span.is_recording() else ""
        finally:
            span.set_attribute("rpc.response.status_code", seen.code)
            if seen.code != "OK":
                span.set_status(Status(StatusCode.ERROR, str(seen.error or seen.code)))
            span.end()
            with contextlib.suppress(ValueError):  # an async generator that another task closes
                _span.reset(token)

    def pulled(self, name: str, *, size: int, seconds: float, code: str) -> None:
        """The span of a pull, below the request that began it."""
        parent = _span.get()
        end = time.time_ns()
        span = self._tracer.start_span(
            "pull",
            context=trace.set_span_in_context(parent) if parent is not None else Context(),
            start_time=end - int(seconds * 1e9),
            attributes={"orlop.image": name, "orlop.bytes": size},
        )
        if code != "OK":
            span.set_status(Status(StatusCode.ERROR, code))
        span.end(end_time=end)

    def close(self) -> None:
        """Send what waits, within limits.TRACE_FLUSH seconds."""
        self._provider.force_flush(int(limits.TRACE_FLUSH * 1000))
        self._provider.shutdown()

    def _parent(self, metadata: Metadata) -> Context:
        carrier = {key: value for key, value in metadata if key in _KEYS and isinstance(value, str)}
        return self._propagator.extract(carrier, Context())


def _is_image(method: str) -> bool:
    return "Image" in method
