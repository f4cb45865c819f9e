"""A client of the daemon, for `orlop status`."""

from __future__ import annotations

from typing import Any

import grpc

from orlop.cri.proto import cri_pb2 as pb
from orlop.kit import limits


class Client:
    """Asks one question after the other, each answered within `patience` seconds or grpc.RpcError."""

    def __init__(self, path: str, patience: float) -> None:
        options = [("grpc.max_receive_message_length", limits.CRI_MESSAGE)]
        self._channel = grpc.insecure_channel(f"unix:{path}", options=options)
        self._patience = patience

    def call(self, method: str, request: Any) -> Any:
        """The answer of a method that does not stream."""
        for service in pb.DESCRIPTOR.services_by_name.values():
            if method in service.methods_by_name:
                answer = getattr(pb, service.methods_by_name[method].output_type.name)
                call = self._channel.unary_unary(
                    f"/runtime.v1.{service.name}/{method}",
                    request_serializer=type(request).SerializeToString,
                    response_deserializer=answer.FromString,
                )
                return call(request, timeout=self._patience)
        raise KeyError(method)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self._channel.close()
