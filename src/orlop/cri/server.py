"""The gRPC server: the interface's methods by their descriptor, worker threads, statuses.

Each RPC is the function of its name in a module of its name (RunPodSandbox is
orlop.cri.runtime.run_pod_sandbox), imported at start, so that a daemon under which a newer version was
installed goes on with its own. A plain function runs in a worker thread, `async def` on the loop. What a
request began is never cut off by its client: the client that gives up hears nothing more, the work goes on.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import importlib
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import grpc.aio
from google.protobuf.message import DecodeError, Message

from orlop.cri.observer import Metadata
from orlop.cri.proto import cri_pb2 as pb
from orlop.cri.service import Service
from orlop.cri.status import Failure, failure
from orlop.kit import limits
from orlop.kit.errors import LimitExceeded
from orlop.kit.value import dataclass

VERSIONS = ("v1", "v1alpha2")  # the same messages on the wire
_PACKAGES = {"RuntimeService": "orlop.cri.runtime", "ImageService": "orlop.cri.image"}
_THREADS = {
    "query": limits.CRI_QUERY_THREADS,
    "stop": limits.CRI_STOP_THREADS,
    "exec": limits.CRI_EXEC_THREADS,
    "work": limits.CRI_WORKER_THREADS,
}
_PATIENT = {"stop", "exec"}  # pools whose work takes as long as a pod's author wants
_OPTIONS = (
    ("grpc.max_receive_message_length", limits.CRI_MESSAGE),
    ("grpc.max_send_message_length", limits.CRI_MESSAGE),
    ("grpc.so_reuseport", 0),
)


@dataclass(frozen=True)
class Rpc:
    """One method of the interface. `pool` is that of the threads which a plain function runs in."""

    name: str
    function: Callable[[Service, Any], Any]
    request: type[Message]
    response: type[Message]
    stream: bool
    pool: str


def snake(name: str) -> str:
    """`RunPodSandbox` as `run_pod_sandbox`."""
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name).lstrip("_")


def rpcs() -> dict[str, Rpc]:
    """Every method, by `SERVICE/METHOD`."""
    found = {}
    for service in pb.DESCRIPTOR.services_by_name.values():
        for method in service.methods:
            module = f"{_PACKAGES[service.name]}.{snake(method.name)}"
            found[f"{service.name}/{method.name}"] = Rpc(
                name=method.name,
                function=getattr(importlib.import_module(module), snake(method.name)),
                request=getattr(pb, method.input_type.name),
                response=getattr(pb, method.output_type.name),
                stream=method.server_streaming,
                pool=_pool(method.name),
            )
    return found


def _pool(name: str) -> str:
    """What changes nothing must not queue behind slow work, and nothing behind what waits for others."""
    if name.startswith("List") or name.endswith(("Status", "Stats", "Info")):
        return "query"
    return "stop" if name.startswith("Stop") else "exec" if name == "ExecSync" else "work"


class Server:
    """The CRI on one address. Start it once, stop it once."""

    def __init__(self, service: Service, address: str) -> None:
        self._service = service
        self._address = address  # as gRPC names it: unix:/PATH
        self._pools = {
            name: ThreadPoolExecutor(count, thread_name_prefix=name) for name, count in _THREADS.items()
        }
        self._busy = dict.fromkeys(_THREADS, 0)
        self._under_way: set[asyncio.Task[Any]] = set()
        self._streams: set[asyncio.Task[Any]] = set()
        self._ending = False
        self._server: grpc.aio.Server | None = None

    def bind(self) -> None:
        """Make the socket. Raises RuntimeError."""
        self._server = grpc.aio.server(options=_OPTIONS, maximum_concurrent_rpcs=limits.CRI_REQUESTS)
        self._server.add_generic_rpc_handlers((_Handlers(self, rpcs()),))
        self._server.add_insecure_port(self._address)

    async def start(self) -> None:
        """Answer requests from now on."""
        assert self._server is not None, "bind first"
        await self._server.start()

    async def stop(self, grace: float = limits.CRI_SHUTDOWN) -> int:
        """Take no new requests; end streams; wait for what is under way. How many are still at work after it.

        Their threads go on until the process ends; the next one finishes or undoes what they had begun.
        """
        assert self._server is not None, "never started"
        loop = asyncio.get_running_loop()
        deadline = loop.time() + grace
        self._ending = True
        for stream in list(self._streams):
            stream.cancel()
        await self._server.stop(grace)
        while self._under_way and loop.time() < deadline:  # those whose clients have gone
            await asyncio.wait(self._under_way, timeout=max(0.0, deadline - loop.time()))
        left = len(self._under_way)
        for executor in self._pools.values():
            executor.shutdown(wait=not left, cancel_futures=True)
        return left

    async def answers(self) -> None:
        """Returns once a thread of each kind was free: the daemon is alive."""
        loop = asyncio.get_running_loop()
        await asyncio.gather(*(loop.run_in_executor(pool, int) for pool in self._pools.values()))

    @property
    def under_way(self) -> int:
        """Requests that are being answered, streams excepted."""
        return len(self._under_way)

    def handler(self, rpc: Rpc) -> grpc.RpcMethodHandler:
        """What gRPC is told of a method."""
        codec = (functools.partial(_decoded, rpc), rpc.response.SerializeToString)
        if rpc.stream:

            async def streamed(request: Any, context: grpc.aio.ServicerContext) -> AsyncIterator[Any]:
                async for message in self._stream(rpc, request, context):  # gRPC looks for a generator
                    yield message

            return grpc.unary_stream_rpc_method_handler(streamed, *codec)

        async def answered(request: Any, context: grpc.aio.ServicerContext) -> Any:
            return await self._answer(rpc, request, context)

        return grpc.unary_unary_rpc_method_handler(answered, *codec)

    async def _answer(self, rpc: Rpc, request: Any, context: grpc.aio.ServicerContext) -> Any:
        if isinstance(request, Failure):
            await context.abort(request.code, request.message)
        work = asyncio.create_task(self._carry_out(rpc, request, context.invocation_metadata() or ()))
        self._under_way.add(work)
        work.add_done_callback(self._under_way.discard)
        result = await asyncio.shield(work)  # cancelled: the client has gone, the work has not
        if isinstance(result, Failure):
            await context.abort(result.code, result.message)
        return result

    async def _carry_out(self, rpc: Rpc, request: Any, metadata: Metadata) -> Any:
        """The response, or the Failure."""
        with self._service.observer.request(rpc.name, about(request), metadata) as seen:
            try:
                return await self._called(rpc, request)
            except Exception as error:
                failed = failure(rpc.name, error)
                seen.code, seen.error = failed.code.name, error
                return failed

    def _called(self, rpc: Rpc, request: Any) -> Awaitable[Any]:
        if inspect.iscoroutinefunction(rpc.function):
            called: Awaitable[Any] = rpc.function(self._service, request)
            return called
        if rpc.pool in _PATIENT and self._busy[rpc.pool] >= _THREADS[rpc.pool]:
            raise LimitExceeded(
                rpc.name,
                f"{_THREADS[rpc.pool]} of this kind are under way",
                hint="ask again when some have ended",
            )
        context = contextvars.copy_context()
        loop = asyncio.get_running_loop()
        self._busy[rpc.pool] += 1
        work = loop.run_in_executor(self._pools[rpc.pool], context.run, rpc.function, self._service, request)
        work.add_done_callback(functools.partial(self._done, rpc.pool))
        return work

    def _done(self, pool: str, _: object) -> None:
        self._busy[pool] -= 1

    async def _stream(self, rpc: Rpc, request: Any, context: grpc.aio.ServicerContext) -> AsyncIterator[Any]:
        if isinstance(request, Failure):
            await context.abort(request.code, request.message)
        task = asyncio.current_task()
        assert task is not None
        self._streams.add(task)
        failed: Failure | None = None
        try:
            metadata = context.invocation_metadata() or ()
            with self._service.observer.request(rpc.name, about(request), metadata) as seen:
                try:
                    async for message in rpc.function(self._service, request):
                        yield message
                except asyncio.CancelledError as error:
                    if not self._ending:  # the client has gone
                        seen.code, seen.error = grpc.StatusCode.CANCELLED.name, error
                        raise
                    # gRPC would wait for a stream that ends by being cancelled.
                    failed = Failure(grpc.StatusCode.UNAVAILABLE, "the daemon is ending")
                    seen.code, seen.error = failed.code.name, error
                except Exception as error:
                    failed = failure(rpc.name, error)
                    seen.code, seen.error = failed.code.name, error
        finally:
            self._streams.discard(task)
        if failed is not None:
            await context.abort(failed.code, failed.message)


def _decoded(rpc: Rpc, data: bytes) -> Any:
    """The request, or the Failure to answer with: gRPC would log a traceback for each that is none."""
    try:
        return rpc.request.FromString(data)
    except DecodeError:
        words = f"{rpc.name}: what was sent is no {rpc.request.DESCRIPTOR.name}"
        return Failure(grpc.StatusCode.INVALID_ARGUMENT, words)


class _Handlers(grpc.GenericRpcHandler):  # type: ignore[misc]
    """The methods under every name that the interface has had."""

    def __init__(self, server: Server, methods: dict[str, Rpc]) -> None:
        self._handlers = {
            f"/runtime.{version}.{name}": server.handler(rpc)
            for version in VERSIONS
            for name, rpc in methods.items()
        }

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        return self._handlers.get(handler_call_details.method)


def about(request: Any) -> str:
    """What a request is about: an ID, or a name."""
    for field in ("container_id", "pod_sandbox_id"):
        identifier = getattr(request, field, "")
        if identifier:
            return str(identifier)
    if isinstance(request, pb.RunPodSandboxRequest):
        metadata = request.config.metadata
        return f"{metadata.namespace}/{metadata.name}"
    if isinstance(request, pb.PullImageRequest | pb.RemoveImageRequest | pb.ImageStatusRequest):
        return str(request.image.image)
    return ""
