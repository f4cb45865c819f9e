"""One archive, two forms: what the kernel shows of the image is what extraction makes of it."""

from __future__ import annotations

import os
import random
import shutil
import struct
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orlop.kit.errors import Corrupt, OrlopError
from orlop.kit.node import Node
from orlop.store import overlay
from orlop.store.store import Store, StoreSettings
from tests.store.corpus import END, header, padded, pax, record
from tests.store.layers import put_tar, view_of
from tests.store.trees import seen
from tests.support.images import Entry, folder, hard_link, symlink, tar

pytestmark = pytest.mark.host
CAPABILITY = struct.pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0).decode("utf-8", "surrogateescape")
ACL = struct.pack("<I", 2) + b"".join(
    struct.pack("<HHI", tag, permissions, who)
    for tag, permissions, who in (
        (1, 7, 2**32 - 1), (2, 6, 70), (4, 5, 2**32 - 1), (16, 7, 2**32 - 1), (32, 0, 2**32 - 1),
    )
)  # fmt: skip


@contextmanager
def kept(data: bytes, form: str) -> Iterator[Path]:
    """The archive as the only layer of a store of its own, seen at this path."""
    base = tempfile.mkdtemp(prefix="orlop-tree-", dir="/var/tmp")
    store = Store(Node(f"{base}/root", f"{base}/state"), StoreSettings(layers=form))
    try:
        put_tar(store, data)
        assert store.check().problems == ()
        yield Path(store.layout.diff("1") if form == "files" else view_of(store.layout.root))
    finally:
        store.close()
        overlay.unmount(view_of(store.layout.root))
        shutil.rmtree(base)


def both(data: bytes, implied: frozenset[str] = frozenset()) -> dict[str, tuple[object, ...]]:
    """What both forms show, which must be one; returns it."""
    found = []
    for form in ("files", "erofs"):
        with kept(data, form) as root:
            found.append(seen(root, implied | {"."} if not data.startswith(b"./\0") else implied))
    assert found[0] == found[1]
    return found[0]


def test_a_debian_root_is_the_same() -> None:
    from tests.support.images import debian_tar

    with tarfile.open(debian_tar()) as source:
        names = {member.name.removeprefix("./").rstrip("/") for member in source}
    shown = both(debian_tar().read_bytes())
    assert len(shown) > 5000
    assert "usr/bin/env" in names
    assert "usr/bin/env" in shown


def test_owners_attributes_and_kinds_are_the_same() -> None:
    entries = [
        Entry("./", type=tarfile.DIRTYPE, mode=0o711, uid=3, mtime=77),
        folder("mail", 0o2775, gid=8),
        Entry("mail/box", b"x" * 511, mode=0o4755, uid=70_000, gid=4_000_000_000),
        Entry("mail/exact", b"y" * 512, pax={"mtime": "1234567890.123456789"}),
        Entry("mail/more", b"z" * 513, mtime=-5),
        Entry("none"),
        Entry("ping", b"x", pax={"SCHILY.xattr.security.capability": CAPABILITY}),
        Entry("noted", b"x", pax={f"SCHILY.xattr.user.n{at}": "v" * at for at in range(0, 150, 9)}),
        Entry("d", type=tarfile.DIRTYPE, pax={"SCHILY.xattr.user.note": "folder"}),
        Entry("d", type=tarfile.DIRTYPE, mode=0o750, pax={"SCHILY.xattr.user.more": "again"}),
        symlink("short", "x"),
        symlink("long", "t" * 4000),
        *[symlink(f"l{at}", "t" * at) for at in range(380, 520, 3)],
        hard_link("box2", "mail/box"),
        hard_link("short2", "short"),
        Entry("null", type=tarfile.CHRTYPE, mode=0o666, device=(1, 3)),
        Entry("disk", type=tarfile.BLKTYPE, mode=0o660, gid=6, device=(259, 1 << 18)),
        Entry("pipe", type=tarfile.FIFOTYPE, mode=0o600),
        Entry("n" * 255, b"long"),
    ]
    assert len(both(tar(entries))) > 60


def test_an_acl_is_kept_and_rules() -> None:
    records = record(b"SCHILY.xattr.system.posix_acl_access", ACL)
    data = pax(records, header(b"f", mode=0o770))
    with kept(data, "erofs") as root:
        assert os.getxattr(root / "f", "system.posix_acl_access") == ACL
    with kept(data, "files") as root:
        assert os.getxattr(root / "f", "system.posix_acl_access") == ACL


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (b"security.capability", b"rubbish"),
        (b"system.posix_acl_access", ACL[:-1]),
        (b"system.posix_acl_access", ACL[:4] + ACL[12:]),
        (b"system.posix_acl_access", b"x"),
        (b"user.", b"rubbish"),
    ],
)
def test_an_attribute_that_no_file_system_takes_is_refused_by_both(name: bytes, value: bytes) -> None:
    data = pax(record(b"SCHILY.xattr." + name, value), header(b"f"))
    for form in ("files", "erofs"):
        with pytest.raises(Corrupt), kept(data, form):
            pass


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (b"system.posix_acl_access", b"rubbish" * 4),
        (b"system.posix_acl_default", ACL),
        (b"system.unknown", b"1"),
        (b"other.class", b"1"),
        (b"trusted.overlay.redirect", b"/etc"),
    ],
)
def test_an_attribute_that_a_file_cannot_bear_is_left_out_by_both(name: bytes, value: bytes) -> None:
    shown = both(pax(record(b"SCHILY.xattr." + name, value), header(b"f")))
    assert shown["f"][7] == {}


def test_folders_of_any_size_list_all_their_names() -> None:
    """Names are in blocks of 512 bytes, in order: around each boundary nothing may be lost."""
    numbers = random.Random(5)
    names = {f"d/{numbers.randbytes(numbers.randrange(1, 120)).hex()}" for _ in range(3000)}
    odd = {f"d/{character}{number}" for character in "!-.~ü" for number in range(40)}
    shown = both(tar([folder("d"), *[Entry(name, name.encode()) for name in sorted(names | odd)]]))
    assert len(shown) == 2 + len(names | odd)


def test_many_folders_are_found_whatever_their_numbers() -> None:
    shown = both(
        tar([folder(f"{a}/{b}") for a in range(60) for b in range(30)]), frozenset(map(str, range(60)))
    )
    assert len(shown) == 1 + 60 + 60 * 30


def test_whiteouts_and_opaque_folders_are_the_same() -> None:
    entries = [folder("a"), Entry("a/.wh.x"), Entry("a/y", b"1"), Entry("b/.wh..wh..opq"), Entry(".wh.top")]
    entries += [Entry(".wh.f"), folder("f"), Entry("f/g", b"2"), Entry("f/.wh.h")]
    shown = both(tar(entries), frozenset({"b"}))
    assert "trusted.overlay.opaque" in shown["b"][7]  # type: ignore[operator]


def test_the_last_entrys_data_may_end_the_archive() -> None:
    both(header(b"f", size=700) + b"x" * 700)
    both(header(b"f", size=3) + padded(b"abc") + END + b"what follows" * 1000)


_NAMES = st.sampled_from(["a", "b", "a/b", "a/c", "b/a", "c", "c/d/e", "a/b/c", "l", "l/x", "l/x/y"])
_WHITE = st.sampled_from([".wh.a", ".wh.b", "a/.wh.b", "a/.wh..wh..opq", "c/.wh.d", ".wh.l", "l/.wh.x"])
_WHEN = st.integers(-(2**31), 2**33)


@st.composite
def _entry(draw: st.DrawFn) -> Entry:
    kind = draw(st.sampled_from(["file", "folder", "link", "hard", "node", "white"]))
    if kind == "white":
        return Entry(draw(_WHITE))
    name, mode = draw(_NAMES), draw(st.sampled_from([0o644, 0o755, 0o4755, 0o2775, 0o1777, 0]))
    owner = draw(st.sampled_from([0, 5, 70_000]))
    when = draw(_WHEN)
    if kind == "file":
        size = draw(st.sampled_from([0, 1, 511, 512, 513, 4096, 5000]))
        note = {"SCHILY.xattr.user.note": name} if draw(st.booleans()) else {}
        return Entry(name, name[:1].encode() * size, mode=mode, uid=owner, gid=owner, mtime=when, pax=note)
    if kind == "folder":
        return Entry(name, type=tarfile.DIRTYPE, mode=mode, uid=owner, gid=owner, mtime=when)
    if kind == "link":
        target = draw(st.sampled_from(["a", "b", "../a", "c/d", "a/b", ".", "nowhere"]))
        return Entry(name, type=tarfile.SYMTYPE, link=target, uid=owner, mtime=when)
    if kind == "hard":
        return Entry(name, type=tarfile.LNKTYPE, link=draw(_NAMES))
    return Entry(name, type=tarfile.FIFOTYPE, mode=mode & 0o777, uid=owner, mtime=when)


def _tried(data: bytes, form: str, implied: frozenset[str]) -> object:
    try:
        with kept(data, form) as root:
            return seen(root, implied)
    except OrlopError as error:
        return type(error), error.cause


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(_entry(), max_size=12))
def test_whatever_an_archive_does_both_forms_make_the_same_of_it(entries: list[Entry]) -> None:
    """The same tree, or refused with the same words."""
    named = {entry.name for entry in entries if entry.type == tarfile.DIRTYPE}
    every = {"/".join(name.split("/")[:end]) for name in _all_names() for end in range(1, 4)}
    implied = frozenset(every - named | {"."})
    data = tar(entries)
    assert _tried(data, "files", implied) == _tried(data, "erofs", implied)


def _all_names() -> list[str]:
    return ["a/b/c", "b/a", "c/d/e", "l/x/y"]
