"""Our cri.proto is the Container Runtime Interface of Kubernetes 1.36: every name, number, type and label."""

from __future__ import annotations

import importlib
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from google.protobuf import descriptor_pb2

from orlop.cri.proto import cri_pb2 as pb
from orlop.cri.server import rpcs, snake
from orlop.kit import process

pytestmark = pytest.mark.host

_MODULE, _VERSION = "k8s.io/cri-api", "v0.36.1"


@pytest.fixture(scope="module")
def theirs() -> descriptor_pb2.FileDescriptorProto:
    """The original, as protoc reads it."""
    import sys

    from tools.builds.build import _download, _go

    with TemporaryDirectory() as folder:
        _go(Path(folder), "mod", "init", "orlop.invalid/proto")
        source = _download(Path(folder), _MODULE, _VERSION) / "pkg/apis/runtime/v1"
        out = Path(folder) / "set"
        argv = [sys.executable, "-m", "grpc_tools.protoc", f"-I{source}", f"--descriptor_set_out={out}"]
        process.run([*argv, "api.proto"], timeout=60)
        return descriptor_pb2.FileDescriptorSet.FromString(out.read_bytes()).file[0]


@pytest.fixture(scope="module")
def ours() -> descriptor_pb2.FileDescriptorProto:
    found = descriptor_pb2.FileDescriptorProto()
    pb.DESCRIPTOR.CopyToProto(found)
    return found


def test_the_package_has_the_name_that_clients_call(ours: descriptor_pb2.FileDescriptorProto) -> None:
    assert ours.package == "runtime.v1"


def test_messages_have_the_same_fields(
    ours: descriptor_pb2.FileDescriptorProto, theirs: descriptor_pb2.FileDescriptorProto
) -> None:
    assert _messages(ours.message_type) == _messages(theirs.message_type)


def test_enumerations_have_the_same_values(
    ours: descriptor_pb2.FileDescriptorProto, theirs: descriptor_pb2.FileDescriptorProto
) -> None:
    assert _enums(ours.enum_type) == _enums(theirs.enum_type)


def test_services_have_the_same_methods(
    ours: descriptor_pb2.FileDescriptorProto, theirs: descriptor_pb2.FileDescriptorProto
) -> None:
    found = _methods(ours)
    assert found == _methods(theirs)
    assert len(found) == 41


def test_every_method_is_served_by_the_function_of_its_name() -> None:
    served = rpcs()
    assert len(served) == 41
    for name, rpc in served.items():
        package = {"RuntimeService": "runtime", "ImageService": "image"}[name.partition("/")[0]]
        module = importlib.import_module(f"orlop.cri.{package}.{snake(rpc.name)}")
        assert rpc.function is getattr(module, snake(rpc.name))


def _messages(of: object, prefix: str = "") -> dict[str, object]:
    """Message -> its fields, by number; nested ones by their full names."""
    found: dict[str, object] = {}
    for message in of:  # type: ignore[attr-defined]
        name = f"{prefix}{message.name}"
        found[name] = {f.number: (f.name, f.type, f.label, f.type_name) for f in message.field}
        found.update(_messages(message.nested_type, f"{name}."))
        found.update({f"{name}.{key}": value for key, value in _enums(message.enum_type).items()})
    return found


def _enums(of: object) -> dict[str, object]:
    return {enum.name: {value.name: value.number for value in enum.value} for enum in of}  # type: ignore[attr-defined]


def _methods(file: descriptor_pb2.FileDescriptorProto) -> dict[str, tuple[str, str, bool, bool]]:
    return {
        f"{service.name}/{m.name}": (m.input_type, m.output_type, m.client_streaming, m.server_streaming)
        for service in file.service
        for m in service.method
    }
