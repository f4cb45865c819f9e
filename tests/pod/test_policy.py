"""The policy at a container's creation: what came before it was tightened, what was changed in the store."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from orlop.image.policy.errors import PolicyRefused
from orlop.image.pull import pull
from orlop.image.registries.load import parse
from orlop.image.settings import ImageSettings
from orlop.kit.errors import InvalidInput
from orlop.kit.node import Node
from orlop.pod.context import Pods
from orlop.pod.create_container import create_container
from orlop.pod.model import Container, Sandbox
from orlop.pod.remove_container import remove_container
from orlop.pod.run import run_once
from orlop.pod.run_sandbox import run_sandbox
from orlop.runtime.model import Mount
from tests.image.signing import attach, b64, keyed, policy, public_pem
from tests.pod.make import pod, shell, sleeper
from tests.support.images import Image, Index, busybox_image, push
from tests.support.node import BUSYBOX, busybox, opened, put_image, temporary_node
from tests.support.registry import Registry, registry

pytestmark = pytest.mark.host
KEY = ec.generate_private_key(ec.SECP256R1())
SIGNED = {"type": "sigstoreSigned", "keyData": b64(public_pem(KEY))}
ACCEPT = {"default": [{"type": "insecureAcceptAnything"}]}


@pytest.fixture(scope="module")
def source() -> Iterator[Registry]:
    with registry() as one:
        yield one


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    (tmp_path / "policy.json").write_text(json.dumps(ACCEPT))
    config = f'[image]\npolicy = "{tmp_path}/policy.json"\n'
    with temporary_node(images={}, config=config) as made:
        yield made


@pytest.fixture
def pods(node: Node) -> Iterator[Pods]:
    with opened(node) as made:
        yield made


@pytest.fixture
def strict(tmp_path: Path) -> str:
    """The node's policy wants a signature from now on."""
    return policy(tmp_path / "policy.json", SIGNED)


def take(pods: Pods, source: Registry, name: str) -> str:
    conf = parse(f'[[registry]]\nlocation = "{source.address}"\ninsecure = true\n')
    settings = pods.config.section("image", ImageSettings)
    done = asyncio.run(pull(source.reference(name), pods.store, settings=settings, registries=conf))
    return str(done.id)


def create(pods: Pods, image: str, sandbox: Sandbox | None = None, **changes: Any) -> Container:
    sandbox = sandbox or run_sandbox(pods, pod())
    return create_container(pods, sandbox.id, replace(sleeper(), image=image, **changes))


def refused(pods: Pods, image: str, words: str, **changes: Any) -> None:
    sandbox = run_sandbox(pods, pod())
    with pytest.raises(PolicyRefused, match=words):
        create(pods, image, sandbox, **changes)
    assert not pods.containers(sandbox.id)


def signed(source: Registry, name: str, image: Image | Index | None = None, *, as_name: str = "") -> str:
    image = image or busybox_image({"Labels": {"name": name}})
    whole = push(source, name, image)
    repository = name.partition(":")[0]
    attach(source, repository, image.digest, [keyed(KEY, image.digest, as_name or whole)])
    return whole


def test_a_signed_image_runs_without_its_registry(pods: Pods, strict: str) -> None:
    with registry() as source:
        name = signed(source, "app:1")
        identifier = take(pods, source, "app:1")
        digest = pods.store.image(identifier).digest
    sandbox = run_sandbox(pods, pod())
    repository = name.rpartition(":")[0]
    for place, asked in enumerate((name, identifier, identifier[7:20], f"{repository}@{digest}", digest)):
        assert create(pods, asked, sandbox, name=f"c{place}").image_id == identifier


def test_what_was_pulled_before_the_policy_was_tightened(
    pods: Pods, source: Registry, tmp_path: Path
) -> None:
    name = push(source, "before:1", busybox_image({"Labels": {"a": "before"}}))
    identifier = take(pods, source, "before:1")
    remove_container(pods, create(pods, name).id)
    policy(tmp_path / "policy.json", SIGNED)
    for asked in (name, identifier, f"{name.rpartition(':')[0]}@{pods.store.image(name).digest}"):
        refused(pods, asked, "there is none")
    with pytest.raises(PolicyRefused) as caught:
        run_once(pods, pod(), replace(shell("true"), image=name), attached=False)
    assert "pull it again" in caught.value.hint
    image = pods.store.image(name)
    attach(source, "before", image.digest, [keyed(KEY, image.digest, name)])
    refused(pods, name, "there is none")  # what appeared in the registry is not in the store
    take(pods, source, "before:1")
    assert create(pods, name)


def test_a_policy_that_rejects_or_cannot_be_read(pods: Pods, source: Registry, tmp_path: Path) -> None:
    name = push(source, "reject:1", busybox_image())
    take(pods, source, "reject:1")
    (tmp_path / "policy.json").write_text(json.dumps({"default": [{"type": "reject"}]}))
    refused(pods, name, "rejects it")
    for text in ("", "{}", '{"default": [{"type": "accept"}]}'):
        (tmp_path / "policy.json").write_text(text)
        with pytest.raises(InvalidInput):
            create(pods, name)
    (tmp_path / "policy.json").unlink()
    with pytest.raises(InvalidInput, match="cannot be read"):
        create(pods, name)


def test_a_signed_index_counts_at_the_creation_too(pods: Pods, source: Registry, strict: str) -> None:
    inner = busybox_image({"Labels": {"a": "index"}})
    name = signed(source, "index:1", Index((replace(inner, architecture="arm64"), inner)))
    identifier = take(pods, source, "index:1")
    assert identifier == inner.id
    assert create(pods, name)


def test_each_name_is_judged_by_itself(pods: Pods, source: Registry, tmp_path: Path) -> None:
    """An image that is good as one name is not therefore good as another; an ID is good by either."""
    image = busybox_image({"Labels": {"a": "names"}})
    good = signed(source, "good:1", image)
    other = push(source, "other:1", image)
    accept = {f"{source.address}/other": [{"type": "insecureAcceptAnything"}], "": [SIGNED]}
    (tmp_path / "policy.json").write_text(
        json.dumps({"default": [{"type": "reject"}], "transports": {"docker": accept}})
    )
    take(pods, source, "good:1")
    take(pods, source, "other:1")  # the same image: what was kept for the first name stays
    sandbox = run_sandbox(pods, pod())
    assert create(pods, good, sandbox, name="a")
    assert create(pods, other, sandbox, name="b")
    assert create(pods, image.id, sandbox, name="c")
    pods.store.tag(other, "trusted.example/app:1")
    refused(pods, "trusted.example/app:1", "good:1")
    # As a kubelet asks: by ID, saying what the user wrote.
    refused(pods, image.id, "trusted", image_name="trusted.example/app:1")
    assert create(pods, image.id, sandbox, name="d", image_name=good)


def test_a_name_that_has_gone_on_to_another_image(pods: Pods, source: Registry, strict: str) -> None:
    name = signed(source, "moves:1")
    first = take(pods, source, "moves:1")
    signed(source, "moves:1", busybox_image({"Labels": {"a": "second"}}))
    second = take(pods, source, "moves:1")
    assert first != second
    assert not pods.store.image(first).names
    assert create(pods, first, image_name=name).image_id == first
    assert create(pods, first).image_id == first  # by the name that it was pulled as


def test_what_is_built_or_tagged_here(pods: Pods, node: Node, tmp_path: Path) -> None:
    put_image(node, "localhost/built:1", busybox())
    put_image(node, BUSYBOX, busybox())
    policy(tmp_path / "policy.json", SIGNED, store={"localhost/built": [{"type": "insecureAcceptAnything"}]})
    assert create(pods, "localhost/built:1")
    assert create(pods, "built:1")
    refused(pods, BUSYBOX, "there is none")
    policy(tmp_path / "policy.json", SIGNED)
    refused(pods, "localhost/built:1", "there is none")


def test_images_that_are_mounted_are_asked_about_too(pods: Pods, source: Registry, strict: str) -> None:
    name = signed(source, "main:1")
    take(pods, source, "main:1")
    Path(strict).write_text(json.dumps(ACCEPT))
    volume = push(source, "volume:1", busybox_image({"Labels": {"a": "volume"}}))
    take(pods, source, "volume:1")
    policy(Path(strict), SIGNED)
    refused(pods, name, "volume:1", mounts=(Mount("/img", image=volume, read_only=True),))
    assert create(pods, name)


def _change(node: Node, statement: str, *values: object) -> None:
    with sqlite3.connect(f"{node.root}/store.db") as database:
        assert database.execute(statement, values).rowcount


def test_rows_of_the_store_that_were_changed(pods: Pods, node: Node, source: Registry, strict: str) -> None:
    name = signed(source, "rows:1")
    good = take(pods, source, "rows:1")
    Path(strict).write_text(json.dumps(ACCEPT))
    evil = busybox_image({"Cmd": ["evil"]})
    push(source, "evil:1", evil)
    take(pods, source, "evil:1")
    policy(Path(strict), SIGNED)
    _change(node, "UPDATE names SET image_id = ? WHERE name = ?", evil.id, name)
    refused(pods, name, "there is none")
    # With the good one's manifest, signatures and digests written beside the evil one.
    _change(
        node,
        "UPDATE images SET (digest, manifest) = (SELECT digest, manifest FROM images WHERE id = ?)"
        " WHERE id = ?",
        good,
        evil.id,
    )
    columns = "digest, kind, media_type, data"
    _change(
        node,
        f"INSERT INTO image_documents (image_id, {columns}) SELECT ?, {columns} FROM image_documents"
        " WHERE image_id = ?",
        evil.id,
        good,
    )
    refused(pods, name, "another manifest")
    _change(
        node,
        "UPDATE images SET config = (SELECT config FROM images WHERE id = ?) WHERE id = ?",
        good,
        evil.id,
    )
    refused(pods, name, "changed by hand")
    _change(node, "UPDATE names SET image_id = ? WHERE name = ?", good, name)
    assert create(pods, name)
    _change(node, "DELETE FROM image_layers WHERE image_id = ?", good)
    refused(pods, name, "its layers are not those")
    _change(node, "UPDATE image_documents SET data = ? WHERE kind = 'sigstore'", b"\0junk")
    refused(pods, name, "layers")
