"""Blobs: kept as they came, refused where they are wrong, open while they go."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest

from orlop.image.digest import Digest
from orlop.kit.errors import Corrupt, NotFound
from orlop.store.store import Store

DATA = os.urandom(3_000_000)
DIGEST = Digest.of(DATA)


def put(store: Store, data: bytes = DATA) -> Digest:
    digest = Digest.of(data)
    store.put_blob(digest, len(data), io.BytesIO(data))
    return digest


def read(store: Store, digest: Digest) -> bytes:
    with store.open_blob(digest) as blob:
        assert os.pread(blob.fileno(), 10, blob.offset) == DATA[:10]
        found, buffer = bytearray(), bytearray(100_000)
        while count := blob.readinto(buffer):
            found += buffer[:count]
        return bytes(found)


def leftovers(store: Store) -> list[str]:
    return os.listdir(store.layout.tmp)


def test_what_was_put_is_read(store: Store) -> None:
    assert store.blob_size(DIGEST) is None
    put(store)
    assert store.blob_size(DIGEST) == len(DATA)
    assert read(store, DIGEST) == DATA
    assert leftovers(store) == []


def test_what_is_there_is_not_read_again(store: Store) -> None:
    put(store)
    store.put_blob(DIGEST, len(DATA), io.BytesIO(b"never looked at"))
    assert read(store, DIGEST) == DATA


@pytest.mark.parametrize("wrong", [DATA[:-1], DATA + b"x", DATA[1:] + DATA[:1]])
def test_wrong_bytes_are_refused_and_leave_nothing(store: Store, wrong: bytes) -> None:
    with pytest.raises(Corrupt):
        store.put_blob(DIGEST, len(DATA), io.BytesIO(wrong))
    assert store.blob_size(DIGEST) is None
    assert leftovers(store) == []
    assert not os.path.exists(store.layout.blob(DIGEST))


def test_a_giver_that_gives_up_leaves_nothing(store: Store) -> None:
    def tick() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.put_blob(DIGEST, len(DATA), io.BytesIO(DATA), tick=tick)
    assert leftovers(store) == []


def test_a_finished_file_is_adopted(store: Store) -> None:
    path = Path(store.layout.root) / "finished"
    path.write_bytes(DATA)
    store.adopt_blob(DIGEST, str(path))
    assert not path.exists()
    assert read(store, DIGEST) == DATA


def test_an_unknown_blob_is_not_found(store: Store) -> None:
    with pytest.raises(NotFound), store.open_blob(DIGEST):
        pass


def test_a_lost_file_is_written_again(store: Store) -> None:
    put(store)
    os.unlink(store.layout.blob(DIGEST))
    with pytest.raises(NotFound), store.open_blob(DIGEST):
        pass
    put(store)
    assert read(store, DIGEST) == DATA


def test_an_open_blob_outlives_its_removal(store: Store) -> None:
    put(store)
    with store.open_blob(DIGEST) as blob:
        store.prune()
        assert store.blob_size(DIGEST) is None
        blob.seek(len(DATA) - 5)
        buffer = bytearray(10)
        assert blob.readinto(buffer) == 5
        assert buffer[:5] == DATA[-5:]
