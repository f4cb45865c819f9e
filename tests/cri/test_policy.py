"""What a kubelet hears of images that the policy refuses."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from orlop.cri.proto import cri_pb2 as pb
from tests.cri.objects import sandbox
from tests.image.signing import attach, b64, keyed, policy, public_pem
from tests.support.cri import Client, daemon
from tests.support.images import busybox_image, push
from tests.support.node import temporary_node
from tests.support.registry import Registry, registry

pytestmark = pytest.mark.host
KEY = ec.generate_private_key(ec.SECP256R1())
SIGNED = {"type": "sigstoreSigned", "keyData": b64(public_pem(KEY))}


@pytest.fixture
def source() -> Iterator[Registry]:
    with registry() as running:
        yield running


@pytest.fixture
def client(source: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    conf = tmp_path / "registries.conf"
    conf.write_text(f'[[registry]]\nlocation = "{source.address}"\ninsecure = true\n')
    monkeypatch.setenv("CONTAINERS_REGISTRIES_CONF", str(conf))
    policy(tmp_path / "policy.json", SIGNED)
    config = f'[image]\npolicy = "{tmp_path}/policy.json"\n'
    with temporary_node(config=config) as node, daemon(node) as serving, Client(serving.socket) as connected:
        yield connected


def pull(client: Client, name: str) -> str:
    request = pb.PullImageRequest(image=pb.ImageSpec(image=name))
    return str(client.PullImage(request, timeout=60).image_ref)


def test_a_pull_that_is_refused_begins_with_the_word_that_the_kubelet_knows(
    client: Client, source: Registry
) -> None:
    name = push(source, "app:1", busybox_image())
    with pytest.raises(grpc.RpcError) as caught:
        pull(client, name)
    assert caught.value.code() == grpc.StatusCode.UNKNOWN
    assert caught.value.details().startswith("SignatureValidationFailed: ")
    assert "there is none" in caught.value.details()
    image = busybox_image()
    attach(source, "app", image.digest, [keyed(KEY, image.digest, name)])
    assert pull(client, name) == image.id


def test_a_container_of_an_image_that_is_no_longer_allowed(
    client: Client, source: Registry, tmp_path: Path
) -> None:
    image = busybox_image()
    name = push(source, "app:1", image)
    attach(source, "app", image.digest, [keyed(KEY, image.digest, name)])
    identifier = pull(client, name)
    pod = sandbox(client)

    def create(number: int) -> str:
        config = pb.ContainerConfig(
            metadata=pb.ContainerMetadata(name=f"c{number}"),
            image=pb.ImageSpec(image=identifier, user_specified_image=name),
            command=["sleep", "1000"],
        )
        request = pb.CreateContainerRequest(pod_sandbox_id=pod, config=config)
        return str(client.CreateContainer(request).container_id)

    assert create(1)
    (tmp_path / "policy.json").write_text(json.dumps({"default": [{"type": "reject"}]}))
    with pytest.raises(grpc.RpcError) as caught:
        create(2)
    assert caught.value.code() == grpc.StatusCode.UNKNOWN
    assert caught.value.details().startswith("SignatureValidationFailed: ")
    (tmp_path / "policy.json").write_text("{")
    with pytest.raises(grpc.RpcError) as caught:
        create(3)
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    containers = client.ListContainers(pb.ListContainersRequest()).containers
    assert [one.metadata.name for one in containers] == ["c1"]
