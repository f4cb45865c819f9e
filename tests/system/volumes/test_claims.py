from __future__ import annotations

import os
from pathlib import Path

import pytest

from orlop.kit.errors import Corrupt
from orlop.kit.node import Node
from orlop.system.kube.volume_model import PersistentVolumeClaim
from orlop.system.volumes.claims import claims, ensure_claim, remove_claim
from tests.system.kube.samples import claim, declared


def made(name: str = "c", size: str = "1Gi") -> PersistentVolumeClaim:
    return declared(claim(name, size)).data.claims[0]


def test_a_claim_is_a_folder_that_anybody_may_write(node: Node) -> None:
    path = Path(ensure_claim(node, made()))
    assert path.stat().st_mode & 0o777 == 0o777
    (path / "kept").write_text("x")
    assert Path(ensure_claim(node, made())) == path
    assert (path / "kept").read_text() == "x"


def test_the_size_is_recorded_and_follows_the_declaration(node: Node) -> None:
    ensure_claim(node, made())
    assert [(each.namespace, each.name, each.size) for each in claims(node)] == [("default", "c", 1 << 30)]
    ensure_claim(node, made(size="2Gi"))
    assert claims(node)[0].size == 2 << 30


def test_a_claim_is_removed_once(node: Node) -> None:
    ensure_claim(node, made())
    assert remove_claim(node, "default", "c")
    assert not remove_claim(node, "default", "c")
    assert claims(node) == []


def test_a_node_without_claims_has_none(node: Node) -> None:
    assert claims(node) == []


def test_a_volume_without_its_record_is_still_listed(node: Node) -> None:
    path = ensure_claim(node, made())
    record = os.path.join(os.path.dirname(path), "claim.json")
    os.unlink(record)
    assert claims(node)[0].size == 0
    Path(record).write_text("junk")
    with pytest.raises(Corrupt, match="is not the record"):
        claims(node)
    ensure_claim(node, made())
    assert claims(node)[0].size == 1 << 30
