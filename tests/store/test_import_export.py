"""Import and export: what goes in comes out, whole, in the same order, and nothing hostile gets in."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import json
import lzma
import os
import random
import stat
import subprocess
import tarfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zstandard

from orlop.image.platform import Platform
from orlop.kit.errors import Cancelled, Corrupt, LimitExceeded, OrlopError
from orlop.kit.node import Node
from orlop.store.import_image import Import, Imported
from orlop.store.model import StoreSettings
from orlop.store.pack.tree import pack_tree
from orlop.store.store import Store
from tests.store.corpus import CORPUS, Hostile
from tests.store.layers import image_of, put, put_tar
from tests.store.snapshot import differences, snapshot
from tests.support.images import tar

pytestmark = pytest.mark.host

NAME = "localhost/rootfs:1"
WANTED = Import((NAME,), "2026-01-02T03:04:05Z", Platform.parse("linux/amd64"), {"Cmd": ["sh"]})


def imported(store: Store, data: bytes, wanted: Import = WANTED) -> Imported:
    """Through a pipe, as `orlop image import -` does."""
    reading, writing = os.pipe()

    def feed() -> None:
        with open(writing, "wb") as stream, contextlib.suppress(BrokenPipeError):
            stream.write(data)

    feeder = threading.Thread(target=feed)
    feeder.start()
    try:
        return store.import_image(reading, wanted)
    finally:
        os.close(reading)
        feeder.join()


def exported(store: Store, name: str = NAME) -> bytes:
    found = io.BytesIO()
    store.export_image(name, found.write)
    return found.getvalue()


@contextlib.contextmanager
def mounted(store: Store, name: str = NAME) -> Iterator[str]:
    try:
        yield store.mount_image(name)
    finally:
        store.unmount_image(name)


def packed(root: Path) -> bytes:
    found = io.BytesIO()
    folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        pack_tree(folder, found.write, tick=lambda: None)
    finally:
        os.close(folder)
    return found.getvalue()


class Garden:
    """A tree of everything that a file system knows, by chance."""

    def __init__(self, root: Path, seed: int) -> None:
        self.root = os.fsencode(root)
        self.chance = random.Random(seed)
        self.folders = [self.root]
        self.leaves: list[bytes] = []
        self.links_to_nodes = True
        os.mkdir(self.root)

    def grow(self, count: int) -> None:
        kinds = (self.file, self.file, self.folder, self.link, self.hard_link, self.node, self.sparse)
        for number in range(count):
            path = self.chance.choice(self.folders) + b"/" + self.name(number)
            if len(path) > 3000:
                continue
            self.chance.choice(kinds)(path)
            if os.path.lexists(path):
                self.dress(path)
        for path in (*self.leaves, *reversed(self.folders)):
            when = self.chance.choice((0, 1, -5_500_000_000, 1_767_322_445_123_456_789, 2**33 * 10**9))
            os.utime(path, ns=(when, when), follow_symlinks=False)

    def name(self, number: int) -> bytes:
        long = self.chance.choice((b"", b"", b"", b"x" * 120, "ü→".encode(), b"\xff\xfe", b" '\"\\", b"-rf"))
        return b"%d" % number + long

    def file(self, path: bytes) -> None:
        with open(path, "wb") as stream:
            stream.write(self.chance.randbytes(self.chance.choice((0, 1, 511, 512, 513, 70_000, 1_100_000))))
        self.leaves.append(path)

    def folder(self, path: bytes) -> None:
        os.mkdir(path)
        self.folders.append(path)

    def link(self, path: bytes) -> None:
        os.symlink(self.chance.choice((b"/etc/passwd", b"..", b"y" * 200, b"\xff", b"./")), path)
        self.leaves.append(path)

    def hard_link(self, path: bytes) -> None:
        if self.leaves:
            first = self.chance.choice(self.leaves)
            mode = os.lstat(first).st_mode
            if self.links_to_nodes or stat.S_ISREG(mode) or stat.S_ISLNK(mode):
                os.link(first, path, follow_symlinks=False)
                self.leaves.append(path)

    def node(self, path: bytes) -> None:
        kind = self.chance.choice((stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK))
        os.mknod(
            path, kind | 0o600, 0 if kind == stat.S_IFIFO else os.makedev(1 + self.chance.randrange(4000), 3)
        )
        self.leaves.append(path)

    def sparse(self, path: bytes) -> None:
        with open(path, "wb") as stream:
            for _ in range(self.chance.randrange(4)):
                stream.seek(self.chance.randrange(1 << 22))
                stream.write(self.chance.randbytes(5000))
            stream.truncate(self.chance.choice((1 << 22, (1 << 22) + 777, 1 << 25)))
        self.leaves.append(path)

    def dress(self, path: bytes) -> None:
        os.chown(
            path,
            self.chance.choice((0, 1000, 3_000_000)),
            self.chance.choice((0, 5, 2**31)),
            follow_symlinks=False,
        )
        status = os.lstat(path)
        if not stat.S_ISLNK(status.st_mode):
            os.chmod(path, self.chance.choice((0o644, 0o755, 0o4755, 0o2775, 0o1777, 0)))
        if stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode):
            for name in ("user.note", "trusted.deep", "user.ünï"):
                if self.chance.random() < 0.3:
                    os.setxattr(path, name, self.chance.randbytes(self.chance.randrange(200)))
        if stat.S_ISREG(status.st_mode) and self.chance.random() < 0.2:
            capability = bytes.fromhex("0100000200040000000000000000000000000000")
            os.setxattr(path, "security.capability", capability)


@pytest.mark.parametrize("seed", range(6))
def test_what_is_imported_is_exported(store: Store, tmp_path: Path, seed: int) -> None:
    garden = Garden(tmp_path / "garden", seed)
    garden.grow(120)
    wanted = snapshot(str(tmp_path / "garden"))
    archive = packed(tmp_path / "garden")
    assert len(archive) < 100 << 20  # holes stay holes
    imported(store, archive)
    with mounted(store) as root:
        assert differences(snapshot(root), wanted) == {}
    assert exported(store) == archive
    again = imported(store, exported(store))
    assert [found.id for found in store.images()] == [again.id]


def test_gnu_tar_and_python_read_what_is_exported(store: Store, tmp_path: Path) -> None:
    garden = Garden(tmp_path / "garden", 77)
    garden.grow(100)
    archive = tmp_path / "out.tar"
    archive.write_bytes(packed(tmp_path / "garden"))
    (tmp_path / "there").mkdir()
    command = ["tar", "-xpf", str(archive), "-C", str(tmp_path / "there"), "--numeric-owner"]
    command += ["--xattrs", "--xattrs-include=*", "--warning=no-timestamp"]
    subprocess.run(command, check=True)
    found, wanted = snapshot(str(tmp_path / "there")), snapshot(str(tmp_path / "garden"))
    assert differences(found, wanted) == {}
    with tarfile.open(archive) as opened:
        names = [os.fsencode(member.name) for member in opened]
    assert len(names) == len(set(names)) == len(snapshot(str(tmp_path / "garden")))


def test_gnu_tars_own_archives_are_imported(store: Store, tmp_path: Path) -> None:
    garden = Garden(tmp_path / "garden", 5)
    garden.links_to_nodes = False  # GNU tar writes devices and pipes twice
    garden.grow(100)
    command = [
        "tar",
        "-C",
        str(tmp_path / "garden"),
        "--xattrs",
        "--xattrs-include=*",
        "--format=posix",
        "-cS",
        ".",
    ]
    imported(store, subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    with mounted(store) as root:
        assert differences(snapshot(root), snapshot(str(tmp_path / "garden"))) == {}


def test_layers_are_flattened(store: Store) -> None:
    first = tar({"a/one": b"1", "a/two": b"2", "b/three": b"3"})
    put(store, image_of(first, tar({"a/.wh.one": b"", "b/.wh..wh..opq": b"", "b/four": b"4"})), NAME)
    with tarfile.open(fileobj=io.BytesIO(exported(store))) as found:
        assert [member.name for member in found] == [".", "a", "a/two", "b", "b/four"]


@pytest.mark.parametrize("compression", ["", "gzip", "zstd"])
@pytest.mark.parametrize("piped", [True, False])
def test_packed_or_not_piped_or_not(store: Store, tmp_path: Path, compression: str, piped: bool) -> None:
    data = tar({"hello": b"world" * 100_000})
    if compression == "gzip":
        data = gzip.compress(data, 1, mtime=0)
    elif compression == "zstd":
        data = zstandard.compress(data, 1)
    if piped:
        done = imported(store, data)
    else:
        (tmp_path / "file").write_bytes(data)
        with (tmp_path / "file").open("rb", buffering=0) as stream:
            done = store.import_image(stream.fileno(), WANTED)
    layers = json.loads(store.manifest_bytes(done.id))["layers"]
    assert layers[0]["mediaType"].endswith({"": ".tar", "gzip": "+gzip", "zstd": "+zstd"}[compression])
    assert layers[0]["size"] == len(data)
    assert store.image_config(done.id).cmd == ("sh",)
    with mounted(store) as root:
        assert (Path(root) / "hello").read_bytes() == b"world" * 100_000


def test_the_same_import_is_the_same_image(tmp_path: Path) -> None:
    found = set()
    for number in range(2):
        store = Store(Node(str(tmp_path / f"root{number}"), str(tmp_path / f"state{number}")))
        done = imported(store, tar({"a": b"1"}))
        found.add((done.id, done.digest))
        store.close()
    assert len(found) == 1


@pytest.mark.parametrize("hostile", CORPUS, ids=lambda hostile: hostile.name)
def test_a_hostile_archive_is_refused_as_in_a_pull(hostile: Hostile, node: Node, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    (target / "kept").write_text("kept")
    store = Store(node, StoreSettings(layer_unpacked_limit=300 << 20, layer_entries_limit=1000))
    archive = hostile.make(str(target))
    with pytest.raises((Corrupt, LimitExceeded)) as pulled:
        put_tar(store, b"" if hostile.packed else archive, blob=archive)
    with pytest.raises((Corrupt, LimitExceeded)) as caught:
        imported(store, archive)
    assert type(caught.value) is type(pulled.value) or hostile.packed, (caught.value, pulled.value)
    assert caught.value.hint
    assert sorted(os.listdir(target)) == ["kept"]
    assert (target / "kept").read_text() == "kept"
    assert store.images() == []
    assert os.listdir(store.layout.tmp) == []
    store.prune()
    assert store.df().total == 0


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"", Corrupt),
        (b"hello", Corrupt),
        (b"BZh9" + bytes(600), Corrupt),
        (gzip.compress(tar({"a": b"1" * 9000}), mtime=0)[:-9], Corrupt),
    ],
    ids=("nothing", "words", "bzip2", "cut"),
)
def test_what_is_no_archive_is_refused(store: Store, data: bytes, kind: type[OrlopError]) -> None:
    with pytest.raises(kind):
        imported(store, data)
    assert store.images() == []
    store.prune()
    assert [
        os.listdir(folder) for folder in (store.layout.tmp, store.layout.layers) if os.path.isdir(folder)
    ] in (
        [[]],
        [[], []],
    )


@pytest.mark.parametrize("pack", [bz2.compress, lzma.compress], ids=("bzip2", "xz"))
@pytest.mark.parametrize("piped", [True, False], ids=("pipe", "file"))
def test_what_no_layer_is_packed_with_is_unpacked_on_the_way(
    store: Store, tmp_path: Path, pack: Callable[[bytes], bytes], *, piped: bool
) -> None:
    plain = tar({"a": os.urandom(3 << 20)})
    data = pack(plain[:5000]) + pack(plain[5000:])  # in several streams, as pbzip2 and xz -T write them
    if piped:
        done = imported(store, data)
    else:
        (tmp_path / "file").write_bytes(data)
        with open(tmp_path / "file", "rb", buffering=0) as stream:
            done = store.import_image(stream.fileno(), WANTED)
    assert done == imported(store, plain)
    with pytest.raises(Corrupt):
        imported(store, data[:-20])
    assert os.listdir(store.layout.tmp) == []


@pytest.mark.parametrize("pack", [bz2.compress, lzma.compress], ids=("bzip2", "xz"))
def test_a_bomb_is_no_archive(node: Node, pack: Callable[[bytes], bytes]) -> None:
    bounded = Store(node, StoreSettings(layer_unpacked_limit=64 << 20, layer_entries_limit=10))
    with pytest.raises(LimitExceeded):
        imported(bounded, pack(tar({"a": bytes(80 << 20)})))
    assert os.listdir(bounded.layout.tmp) == []
    bounded.close()


def test_an_import_that_is_cancelled_leaves_nothing(store: Store, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(tar({"a": bytes(5 << 20)}))
    calls = 0

    def tick() -> None:
        nonlocal calls
        calls += 1
        if calls > 8:
            raise Cancelled("the import", "was cancelled", hint="ask again")

    with (tmp_path / "file").open("rb", buffering=0) as stream, pytest.raises(Cancelled):
        store.import_image(stream.fileno(), WANTED, tick=tick)
    assert store.images() == []
    assert os.listdir(store.layout.tmp) == []
