"""ADD: archives are unpacked by the store's rules, addresses fetched, and all ends where COPY's would."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import http.server
import io
import lzma
import os
import stat
import subprocess
import tarfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import zstandard

from orlop.build.add import remote
from orlop.build.add.copy import Target, copy
from orlop.build.containerfile.model import Add
from orlop.build.context.tree import Tree
from orlop.kit.errors import Corrupt, InvalidInput, LimitExceeded, NotFound, OrlopError, Unavailable
from orlop.store.model import StoreSettings
from tests.build.trees import Place, instruction, make, seen
from tests.store.corpus import CORPUS, Hostile
from tests.support.images import Entry, hard_link, symlink, tar

pytestmark = pytest.mark.host

PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "plain": lambda data: data,
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zstd": lambda data: zstandard.ZstdCompressor().compress(data),
}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.mark.parametrize("kind", PACKERS)
def test_an_archive_is_unpacked_whatever_its_name(place: Place, kind: str) -> None:
    data = tar([Entry("d/file", b"inside"), symlink("link", "d/file")])
    (place.context / "any.name").write_bytes(PACKERS[kind](data))
    place.run("ADD any.name /new/place")
    assert seen(place.root / "new/place") == {"d": "/", "d/file": "inside", "link": "-> d/file"}
    place.run("COPY any.name /copied/")
    assert (place.root / "copied/any.name").read_bytes() == PACKERS[kind](data)
    place.run("ADD --unpack=false any.name /kept")
    assert (place.root / "kept").is_file()
    assert not list(place.scratch.iterdir())


def test_what_only_looks_like_an_archive_is_a_file(place: Place) -> None:
    odd = {
        "notes.tar.gz": gzip.compress(b"only text"), "empty.tar": b"", "text.tar": b"x" * 2000,
        "broken.gz": b"\x1f\x8b\x08nonsense", "zeros": bytes(1024),
        "no archive at all": b"this is not a tar archive" * 100, "short.xz": lzma.compress(b"x")[:20],
    }  # fmt: skip
    make(place.context, odd)
    place.run("ADD . /all/")
    for name, data in odd.items():
        place.run(f'ADD ["{name}", "/one/"]')
        assert (place.root / "one" / name).read_bytes() == data
        assert (place.root / "all" / name).read_bytes() == data


def test_owners_and_times_of_an_archive(place: Place) -> None:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name in ("one", "two"):
            info = tarfile.TarInfo(name)
            info.uid, info.gid, info.mode, info.mtime = 12, 13, 0o4711, 1000 if name == "one" else 9000
            info.pax_headers = {"SCHILY.xattr.user.note": "kept"}
            archive.addfile(info)
    (place.context / "a.tar").write_bytes(stream.getvalue())
    place.run("ADD a.tar /kept/", epoch=5000)
    found = (place.root / "kept/one").stat()
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode), found.st_mtime) == (12, 13, 0o4711, 1000)
    assert (place.root / "kept/two").stat().st_mtime == 5000
    assert os.getxattr(place.root / "kept/one", "user.note") == b"kept"
    place.run("ADD --chown=7:8 a.tar /given/")
    found = (place.root / "given/one").stat()
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (7, 8, 0o4711)


def test_an_archive_over_links_of_the_image(place: Place) -> None:
    make(place.root, {"lib": "-> usr/lib", "usr/lib/old": "old", "out": f"-> {place.outside}"})
    (place.context / "a.tar").write_bytes(tar([Entry("lib/new", b"new")]))
    (place.context / "b.tar").write_bytes(tar([Entry("out/new", b"new")]))
    place.run("ADD a.tar /")
    assert seen(place.root)["usr/lib/new"] == "new"
    with pytest.raises(InvalidInput, match="link to no folder"):
        place.run("ADD b.tar /")
    assert seen(place.outside) == {"secret": "secret"}


NO_ARCHIVE = "no archive at all"  # for ADD that is a file like any other: the test above


@pytest.mark.parametrize(
    "hostile", [one for one in CORPUS if one.name != NO_ARCHIVE], ids=lambda hostile: hostile.name
)
def test_a_hostile_archive_is_refused_whole(hostile: Hostile, place: Place) -> None:
    (place.outside / "secret").rename(place.outside / "kept")
    (place.context / "a.tar").write_bytes(hostile.make(str(place.outside)))
    settings = StoreSettings(layer_unpacked_limit=300 << 20, layer_entries_limit=1000)
    add = instruction("ADD a.tar /t/")
    with Tree(str(place.context), "the context") as tree, pytest.raises((Corrupt, LimitExceeded)) as caught:
        target = Target(str(place.root), str(place.root), settings=settings)
        copy(add, tree, target, scratch=str(place.scratch))
    assert caught.value.hint
    assert seen(place.outside) == {"kept": "secret"}, "it wrote outside"
    assert seen(place.root) == {}, "a part of it is there"
    assert not list(place.scratch.iterdir())


def test_whiteouts_are_for_layers_only(place: Place) -> None:
    make(place.root, {"etc/passwd": "root"})
    (place.context / "a.tar").write_bytes(tar([Entry("etc/.wh.passwd", b"")]))
    with pytest.raises(Corrupt, match="whiteout"):
        place.run("ADD a.tar /")
    assert seen(place.root)["etc/passwd"] == "root"


# -- addresses ---------------------------------------------------------------------------------------------


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """Plain HTTP of a folder on loopback."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: object, **kwargs: object) -> None:
            super().__init__(*args, directory=str(folder), **kwargs)  # type: ignore[arg-type]

        def log_message(self, *args: object) -> None:
            """Nothing."""

        def do_GET(self) -> None:
            if self.path == "/redirect":
                self.send_response(302)
                self.send_header("Location", "/file.txt")
                self.send_header("Content-Length", "0")
                self.end_headers()
            elif self.path == "/failing":
                self.send_error(503)
            else:
                super().do_GET()

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def add(place: Place, text: str, epoch: int | None = None) -> tuple[remote.Fetched, ...]:
    found = instruction(text)
    assert isinstance(found, Add)
    fetched = remote.fetch(found, str(place.scratch))
    place.run(text, fetched=fetched, epoch=epoch)
    return fetched


def test_an_address(place: Place) -> None:
    served = make(place.folder / "served", {"file.txt": "hello", "d/a b.txt": "blank"})
    os.utime(served / "file.txt", (1_000_000, 1_000_000))
    with serving(served) as url:
        fetched = add(place, f"ADD {url}/file.txt /d/")
        add(place, f"ADD {url}/redirect /d/name")
        add(place, f"ADD --chmod=644 --chown=5 {url}/d/a%20b.txt?x=1 /d/")
    assert fetched[0].digest == "sha256:" + hashlib.sha256(b"hello").hexdigest()
    assert seen(place.root / "d") == {"file.txt": "hello", "name": "hello", "a b.txt": "blank"}
    status = (place.root / "d/file.txt").stat()
    assert (stat.S_IMODE(status.st_mode), status.st_mtime) == (0o600, 1_000_000)
    status = (place.root / "d/a b.txt").stat()
    assert (stat.S_IMODE(status.st_mode), status.st_uid) == (0o644, 5)


def test_a_checksum(place: Place) -> None:
    served = make(place.folder / "served", {"f": "hello"})
    good = hashlib.sha256(b"hello").hexdigest()
    with serving(served) as url:
        add(place, f"ADD --checksum=sha256:{good} {url}/f /f")
        with pytest.raises(Corrupt, match=good):
            add(place, f"ADD --checksum=sha256:{'0' * 64} {url}/f /g")
        for wrong in ("md5:abc", "sha256:12", good):
            with pytest.raises(InvalidInput, match="checksum"):
                add(place, f"ADD --checksum={wrong} {url}/f /g")
    with pytest.raises(InvalidInput, match="checksum"):
        add(place, f"ADD --checksum=sha256:{good} local /g")
    assert seen(place.root) == {"f": "hello"}


def test_a_fetched_archive_is_unpacked_only_if_asked(place: Place) -> None:
    served = make(place.folder / "served", {"a.tgz": gzip.compress(tar([Entry("x", b"x")]))})
    with serving(served) as url:
        add(place, f"ADD {url}/a.tgz /kept/")
        add(place, f"ADD --unpack {url}/a.tgz /open/")
    assert (place.root / "kept/a.tgz").is_file()
    assert seen(place.root / "open") == {"x": "x"}


def test_addresses_that_fail(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "_PAUSE", 0.01)
    served = make(place.folder / "served", {"f": "hello"})
    with serving(served) as url:
        with pytest.raises(NotFound, match="404"):
            add(place, f"ADD {url}/absent /x")
        with pytest.raises(Unavailable, match="503"):
            add(place, f"ADD {url}/failing /x")
        with pytest.raises(InvalidInput, match="without a name"):
            add(place, f"ADD {url}/ /x/")
        monkeypatch.setattr("orlop.kit.limits.ADD_SIZE", 3)
        with pytest.raises(LimitExceeded):
            add(place, f"ADD {url}/f /x")
    with pytest.raises(Unavailable):
        add(place, f"ADD {url}/f /x")
    assert not (place.root / "x").exists() or not list((place.root / "x").iterdir())


def test_a_git_repository(place: Place) -> None:
    work = make(place.folder / "work", {"a": "first", "sub/b": "below"})

    def git(*argv: str) -> str:
        identity = ["-c", "user.name=x", "-c", "user.email=x@example.invalid"]
        done = subprocess.run(["git", "-C", str(work), *identity, *argv], check=True, capture_output=True)
        return done.stdout.decode().strip()

    git("init", "-q", "-b", "main")
    git("add", ".")
    git("commit", "-qm", "one")
    git("tag", "v1")
    first = git("rev-parse", "HEAD")
    (work / "a").write_text("second")
    git("commit", "-qam", "two")
    served = place.folder / "served"
    subprocess.run(["git", "clone", "-q", "--bare", str(work), str(served / "x.git")], check=True)
    subprocess.run(["git", "-C", str(served / "x.git"), "update-server-info"], check=True)
    with serving(served) as url:
        add(place, f"ADD {url}/x.git /head")
        add(place, f"ADD {url}/x.git#v1 /tag")
        add(place, f"ADD {url}/x.git#main:sub /sub")
        fetched = add(place, f"ADD --keep-git-dir=true --checksum={first} {url}/x.git#{first} /commit")
        with pytest.raises(Corrupt, match="commit"):
            add(place, f"ADD --checksum={first} {url}/x.git /other")
        for wrong in ("absent", "main:nowhere", "--upload-pack=x", "a..b"):
            with pytest.raises(OrlopError):
                add(place, f"ADD {url}/x.git#{wrong} /other")
    assert fetched[0].digest == first
    assert seen(place.root / "head") == {"a": "second", "sub": "/", "sub/b": "below"}
    assert (place.root / "tag/a").read_text() == "first"
    assert seen(place.root / "sub") == {"b": "below"}
    assert (place.root / "commit/.git").is_dir()
    assert not (place.root / "other").exists()
    assert remote.is_remote("git@example.invalid:a/b.git")
    assert remote.is_remote("https://example.invalid/x.git#v1")
    assert not remote.is_remote("file:///x.git")
    assert not remote.is_remote("x.git")


def test_links_of_two_archives_are_their_own(place: Place) -> None:
    for name in ("one", "two"):
        entries = [Entry("f", name.encode()), hard_link("l", "f")]
        (place.context / f"{name}.tar").write_bytes(tar(entries))
    place.run("ADD one.tar /one/")
    place.run("ADD one.tar two.tar /both/")
    place.run("ADD two.tar one.tar /other/")
    for folder, wanted in (("one", "one"), ("both", "two"), ("other", "one")):
        assert seen(place.root / folder) == {"f": wanted, "l": wanted}
        assert (place.root / folder / "f").stat().st_nlink == 2
