"""Whatever tarfile writes is read back; whatever anybody writes ends in an entry or in an OrlopError."""

from __future__ import annotations

import io
import tarfile

from hypothesis import given, settings
from hypothesis import strategies as st

from orlop.kit.errors import OrlopError
from orlop.store.unpack.decompress import decompressed
from orlop.store.unpack.tar import Archive
from tests.store.corpus import CORPUS

NAMES = st.text(
    st.characters(min_codepoint=1, max_codepoint=0xD7FF, exclude_characters="/"), min_size=1, max_size=150
)
FORMATS = st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])


def pieces_of(data: bytes, sizes: list[int]) -> list[bytes]:
    pieces, at, turn = [], 0, 0
    while at < len(data):
        size = sizes[turn % len(sizes)]
        pieces.append(data[at : at + size])
        at += size
        turn += 1
    return pieces


def read(pieces: list[bytes]) -> list[tuple[bytes, int, bytes]]:
    waiting = iter(pieces)
    archive = Archive(lambda: next(waiting, None), "test")
    found = []
    while (entry := archive.entry()) is not None:
        found.append((entry.name, entry.mtime, b"".join(bytes(view) for view in archive.data())))
    return found


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.tuples(NAMES, st.binary(max_size=3000), st.integers(-(2**33), 2**35)), max_size=5),
    FORMATS,
    st.lists(st.integers(1, 2000), min_size=1, max_size=4),
)
def test_what_tarfile_writes_is_read_back_whatever_the_pieces(
    entries: list[tuple[str, bytes, int]], form: int, sizes: list[int]
) -> None:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=form) as archive:
        for name, data, when in entries:
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(data), when
            archive.addfile(info, io.BytesIO(data))
    wanted = [(name.encode(), when * 1_000_000_000, data) for name, data, when in entries]
    assert read(pieces_of(stream.getvalue(), sizes)) == wanted


SEEDS = [
    hostile.make("/t") for hostile in CORPUS if "bomb" not in hostile.name and "bound" not in hostile.name
]


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(SEEDS),
    st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 255)), max_size=6),
    st.integers(0, 5000),
)
def test_a_mangled_archive_ends_in_an_error_of_ours_or_in_an_entry(
    seed: bytes, changes: list[tuple[int, int]], cut: int
) -> None:
    data = bytearray(seed[:8000])
    for at, value in changes:
        if at < len(data):
            data[at] = value
    for place in range(0, min(len(data), 2048), 512):  # with a right checksum the rest is looked at
        block = data[place : place + 512]
        if len(block) == 512 and any(block):
            block[148:156] = b" " * 8
            data[place + 148 : place + 156] = b"%06o\0 " % sum(block)
    try:
        read([bytes(data[: len(data) - cut % 700])])
    except OrlopError as error:
        assert error.hint


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from([b"", b"\x1f\x8b", b"\x1f\x8b\x08\0\0\0\0\0\0\x03", b"\x28\xb5\x2f\xfd"]),
    st.binary(max_size=200),
)
def test_rubbish_that_looks_compressed_ends_in_an_error_of_ours(start: bytes, rest: bytes) -> None:
    try:
        for _ in decompressed(iter([start, rest]), "test"):
            pass
    except OrlopError as error:
        assert error.hint
