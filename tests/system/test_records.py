"""What is declared and how it is kept survives on disk."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orlop.kit.node import Node
from orlop.system.kube.volume_model import ClaimSpec, ConfigMap, Metadata, PersistentVolumeClaim, Secret
from orlop.system.records import Records
from orlop.system.supervise.model import ContainerState, Exit, PodState
from tests.system.supervise.bench import container, desired


@pytest.fixture
def records(tmp_path: Path) -> Records:
    return Records(Node(root=str(tmp_path)))


def test_the_same_declaration_twice_is_one_incarnation(records: Records) -> None:
    records.declare_pod(desired(container("app")), "a.yaml", 1.0)
    (first,) = records.pods()
    records.declare_pod(desired(container("app")), "b.yaml", 2.0)
    (again,) = records.pods()
    assert again.uid == first.uid == again.desired.uid
    assert again.source == "b.yaml"


def test_another_content_is_another_incarnation(records: Records) -> None:
    records.declare_pod(desired(container("app")), "a", 1.0)
    records.declare_pod(desired(container("app"), content="2"), "a", 2.0)
    old, new = records.pods()
    assert (old.wanted, new.wanted) == (False, True)
    assert old.uid != new.uid
    records.forget_pod(new.uid)  # still wanted: stays
    records.forget_pod(old.uid)
    assert [record.uid for record in records.pods()] == [new.uid]


def test_other_data_keep_the_incarnation(records: Records) -> None:
    records.declare_pod(desired(container("app")), "a", 1.0)
    records.declare_pod(msgspec.structs.replace(desired(container("app")), volume_data="new"), "a", 2.0)
    (record,) = records.pods()
    assert record.desired.volume_data == "new"


def test_objects_are_kept_by_kind_and_name(records: Records) -> None:
    where = Metadata(name="x")
    claim = PersistentVolumeClaim(metadata=where, spec=ClaimSpec())
    for value in (ConfigMap(metadata=where), Secret(metadata=where), claim):
        records.declare_object(value, "a")
        records.declare_object(value, "a")
    assert len(records.objects()) == 3
    assert records.data().config_map("default", "x") is not None
    records.remove_object("ConfigMap", "default", "x")
    records.remove_object("ConfigMap", "default", "x")
    assert records.data().config_map("default", "x") is None
    assert records.data().secret("default", "x") is not None


def test_secrets_are_readable_by_root_only(records: Records, tmp_path: Path) -> None:
    records.declare_object(Secret(metadata=Metadata(name="x"), string_data={"k": "v"}), "a")
    for name in os.listdir(tmp_path):
        assert os.stat(tmp_path / name).st_mode & 0o077 == 0, name


EXITS = st.builds(Exit, st.integers(0, 9), st.integers(0, 255), st.text(), st.text(), st.floats(0, 1e10))
STATES = st.builds(
    PodState,
    phase=st.sampled_from(["Pending", "Running"]),
    message=st.text(),
    containers=st.dictionaries(
        st.text(min_size=1),
        st.builds(ContainerState, attempt=st.integers(0, 99), exit=st.none() | EXITS, ready=st.booleans()),
        max_size=3,
    ),
)


@settings(deadline=None, max_examples=30)
@given(state=STATES)
def test_a_state_survives_as_it_is(tmp_path_factory: pytest.TempPathFactory, state: PodState) -> None:
    records = Records(Node(root=str(tmp_path_factory.mktemp("node"))))
    records.declare_pod(desired(container("app")), "a", 1.0)
    (record,) = records.pods()
    records.save_state(record.uid, state)
    assert records.pods()[0].state == state
    records.close()
