"""Traces: spans of requests and pulls reach a collector by OTLP, in the kubelet's trace where it has one."""

from __future__ import annotations

import queue
import subprocess
import sys
from collections.abc import Iterator
from concurrent import futures

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as collector_pb
from opentelemetry.proto.trace.v1 import trace_pb2

from orlop.cri.proto import cri_pb2 as pb
from tests.support.cri import Client, daemon
from tests.support.node import temporary_node

pytestmark = pytest.mark.host

_EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
_TRACE = "0af7651916cd43dd8448eb211c80319c"
_PARENT = "b7ad6b7169203331"


class Collector(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Takes spans, as an OpenTelemetry collector does."""

    def __init__(self) -> None:
        self.spans: queue.Queue[tuple[dict[str, str], trace_pb2.Span]] = queue.Queue()

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        if handler_call_details.method != _EXPORT:
            return None
        return grpc.unary_unary_rpc_method_handler(
            self._export,
            request_deserializer=collector_pb.ExportTraceServiceRequest.FromString,
            response_serializer=collector_pb.ExportTraceServiceResponse.SerializeToString,
        )

    def _export(
        self, request: collector_pb.ExportTraceServiceRequest, context: grpc.ServicerContext
    ) -> collector_pb.ExportTraceServiceResponse:
        for resource in request.resource_spans:
            about = {a.key: a.value.string_value for a in resource.resource.attributes}
            for scope in resource.scope_spans:
                for span in scope.spans:
                    self.spans.put((about, span))
        return collector_pb.ExportTraceServiceResponse()

    def await_span(self, name: str) -> tuple[dict[str, str], trace_pb2.Span]:
        while True:
            about, span = self.spans.get(timeout=30)
            if span.name.endswith(name):
                return about, span


@pytest.fixture
def collector() -> Iterator[tuple[Collector, str]]:
    made = Collector()
    server = grpc.server(futures.ThreadPoolExecutor(2))
    server.add_generic_rpc_handlers((made,))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield made, f"127.0.0.1:{port}"
    server.stop(None)


def test_a_request_is_part_of_the_callers_trace(collector: tuple[Collector, str]) -> None:
    made, address = collector
    config = f'[tracing]\nendpoint = "{address}"\ninsecure = true\nsampling = 0.0\n'
    with temporary_node(config=config) as node, daemon(node) as running, Client(running.socket) as client:
        metadata = [("traceparent", f"00-{_TRACE}-{_PARENT}-01")]
        client.Version(pb.VersionRequest())  # is not sampled
        client.ListImages(pb.ListImagesRequest(), metadata=metadata)
        with pytest.raises(grpc.RpcError):
            client.ContainerStatus(pb.ContainerStatusRequest(container_id="f" * 64), metadata=metadata)
        image = pb.ImageSpec(image="127.0.0.1:1/none:1")
        with pytest.raises(grpc.RpcError):
            client.PullImage(pb.PullImageRequest(image=image), metadata=metadata, timeout=30)
        about, span = made.await_span("ListImages")
        assert about["service.name"] == "orlop"
        assert span.name == "runtime.v1.ImageService/ListImages"
        assert (span.trace_id.hex(), span.parent_span_id.hex()) == (_TRACE, _PARENT)
        assert span.kind == trace_pb2.Span.SPAN_KIND_SERVER
        _, failed = made.await_span("RuntimeService/ContainerStatus")
        assert failed.status.code == trace_pb2.Status.STATUS_CODE_ERROR
        _, pull = made.await_span("pull")
        _, request = made.await_span("ImageService/PullImage")
        assert pull.parent_span_id == request.span_id
        assert request.trace_id.hex() == _TRACE
        assert f"trace={_TRACE}" in running.said()


def test_requests_begin_traces_of_their_own_by_share(collector: tuple[Collector, str]) -> None:
    made, address = collector
    config = f'[tracing]\nendpoint = "{address}"\ninsecure = true\n'
    with temporary_node(config=config) as node, daemon(node) as running, Client(running.socket) as client:
        client.ListImages(pb.ListImagesRequest(), metadata=[("traceparent", "nonsense")])
        running.stop()  # what waits is sent before the end
        _, span = made.await_span("ListImages")
        assert span.parent_span_id == b""


def test_a_collector_that_is_not_there_holds_nothing_up() -> None:
    config = '[tracing]\nendpoint = "127.0.0.1:1"\ninsecure = true\n'
    with temporary_node(config=config) as node, daemon(node) as running, Client(running.socket) as client:
        for _ in range(20):
            client.ListImages(pb.ListImagesRequest(), timeout=10)
        assert running.stop() == 0


def test_the_libraries_are_not_loaded_where_nothing_asks_for_them() -> None:
    script = "import sys, orlop.cri.serve; "
    script += "print(*(name for name in sys.modules if name.startswith(('opentelemetry', 'prometheus'))))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
