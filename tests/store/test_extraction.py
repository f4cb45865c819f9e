"""What an honest archive holds is there afterwards, as it was."""

from __future__ import annotations

import gzip
import io
import os
import random
import stat
import struct
import subprocess
import tarfile
import zlib
from pathlib import Path

import pytest
import zstandard

from orlop.kit.errors import Corrupt
from orlop.store.store import Store
from tests.store.corpus import BLOCK, END, header, padded, pax, record
from tests.store.layers import gzipped, put_tar
from tests.support.images import Entry, folder, hard_link, symlink, tar

pytestmark = pytest.mark.host


@pytest.fixture(params=["files", "erofs"])
def kept_as(request: pytest.FixtureRequest) -> str:
    return str(request.param)


#: cap_net_bind_service=ep, as security.capability holds it (VFS_CAP_REVISION_2).
CAPABILITY = struct.pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0)


def test_owners_modes_and_times_are_kept(store: Store, diff: Path) -> None:
    put_tar(
        store,
        tar(
            [
                folder("tmp", 0o1777),
                folder("locked", 0o500, uid=7, gid=8),
                Entry("locked/su", b"x", mode=0o6755, uid=70_000, gid=4_000_000_000),
                Entry("when", b"", mtime=1_600_000_000),
                Entry("before", b"", mtime=-5),
            ]
        ),
    )
    assert stat.S_IMODE((diff / "tmp").stat().st_mode) == 0o1777
    locked, su = (diff / "locked").stat(), (diff / "locked/su").stat()
    assert (stat.S_IMODE(locked.st_mode), locked.st_uid, locked.st_gid) == (0o500, 7, 8)
    assert (stat.S_IMODE(su.st_mode), su.st_uid, su.st_gid) == (0o6755, 70_000, 4_000_000_000)
    assert (diff / "when").stat().st_mtime == 1_600_000_000
    assert (diff / "before").stat().st_mtime == -5


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_no_folder_and_no_umask_gives_a_file_what_the_archive_does_not(
    store: Store, diff: Path, umask: int
) -> None:
    """setgid folders (explicit, and below them implied) give their group; a umask takes bits away."""
    before = os.umask(umask)
    try:
        put_tar(
            store,
            tar(
                [
                    folder("mail", 0o2775, gid=8),
                    Entry("mail/box", b"x", mode=0o644),
                    Entry("mail/implied/deep", b"x", mode=0o666),
                    folder("mail/sub", 0o755),
                    Entry("mail/sub/leaf", b"x", mode=0o755),
                    Entry("loose", b"x", mode=0o777),
                ]
            ),
        )
    finally:
        os.umask(before)
    found = {
        name: (diff / name).stat() for name in ("mail/box", "mail/implied/deep", "mail/sub/leaf", "loose")
    }
    assert {name: (s.st_gid, oct(s.st_mode & 0o7777)) for name, s in found.items()} == {
        "mail/box": (0, "0o644"),
        "mail/implied/deep": (0, "0o666"),
        "mail/sub/leaf": (0, "0o755"),
        "loose": (0, "0o777"),
    }


def test_the_padding_of_the_last_entry_may_be_absent(store: Store, diff: Path) -> None:
    data = tar({"f": b"12345678"})
    put_tar(store, data[: BLOCK + 8])  # as `umoci insert` writes it
    assert (diff / "f").read_bytes() == b"12345678"
    with pytest.raises(Corrupt, match="middle of an entry"):
        put_tar(store, data[: BLOCK + 7])


def test_times_have_nanoseconds_and_those_of_folders_survive_what_is_put_in_them(
    store: Store, diff: Path
) -> None:
    put_tar(
        store,
        tar(
            [
                Entry("d", type=tarfile.DIRTYPE, mode=0o755, mtime=1000),
                Entry("d/f", b"1", pax={"mtime": "1234567890.123456789"}),
                Entry("d/l", type=tarfile.SYMTYPE, link="f", pax={"mtime": "-1.5"}),
            ]
        ),
    )
    assert (diff / "d").stat().st_mtime == 1000
    assert (diff / "d/f").stat().st_mtime_ns == 1_234_567_890_123_456_789
    assert (diff / "d/l").lstat().st_mtime_ns == -1_500_000_000


def test_extended_attributes_and_capabilities_are_kept(store: Store, diff: Path) -> None:
    capability = {"SCHILY.xattr.security.capability": CAPABILITY.decode("utf-8", "surrogateescape")}
    put_tar(
        store,
        tar(
            [
                Entry("ping", b"x", uid=5, mode=0o755, pax=capability),
                Entry("marked", b"", pax={"SCHILY.xattr.user.note": "a=b\n\x01"}),
                Entry("d", type=tarfile.DIRTYPE, pax={"SCHILY.xattr.user.note": "folder"}),
                Entry("hidden", b"", pax={"SCHILY.xattr.trusted.overlay.opaque": "y"}),
            ]
        ),
    )
    assert os.getxattr(diff / "ping", "security.capability") == CAPABILITY
    assert (diff / "ping").stat().st_uid == 5
    assert os.getxattr(diff / "marked", "user.note") == b"a=b\n\x01"
    assert os.getxattr(diff / "d", "user.note") == b"folder"
    assert "trusted.overlay.opaque" not in os.listxattr(diff / "hidden")


def test_links_devices_and_fifos_are_kept(store: Store, diff: Path) -> None:
    put_tar(
        store,
        tar(
            [
                Entry("a", b"shared", mode=0o640),
                hard_link("deep/down/b", "a"),
                symlink("s", "../nowhere"),
                hard_link("s2", "s"),
                Entry("null", type=tarfile.CHRTYPE, mode=0o666, device=(1, 3)),
                Entry("disk", type=tarfile.BLKTYPE, mode=0o660, gid=6, device=(259, 1 << 18)),
                Entry("pipe", type=tarfile.FIFOTYPE, mode=0o600),
                hard_link("null2", "null"),
            ]
        ),
    )
    assert (diff / "a").stat().st_ino == (diff / "deep/down/b").stat().st_ino
    assert os.readlink(diff / "s") == "../nowhere"
    assert (diff / "s").lstat().st_ino == (diff / "s2").lstat().st_ino
    null, disk = (diff / "null").stat(), (diff / "disk").stat()
    assert stat.S_ISCHR(null.st_mode)
    assert (null.st_rdev, stat.S_IMODE(null.st_mode)) == (os.makedev(1, 3), 0o666)
    assert stat.S_ISBLK(disk.st_mode)
    assert (disk.st_rdev, disk.st_gid) == (os.makedev(259, 1 << 18), 6)
    assert stat.S_ISFIFO((diff / "pipe").stat().st_mode)
    assert (diff / "null2").stat().st_nlink == 2


def test_the_roots_own_entry_is_kept(store: Store, diff: Path) -> None:
    put_tar(store, tar([Entry("./", type=tarfile.DIRTYPE, mode=0o711, uid=3), Entry("./f", b"1")]))
    assert (stat.S_IMODE(diff.stat().st_mode), diff.stat().st_uid) == (0o711, 3)
    assert (diff / "f").read_bytes() == b"1"


def test_folders_that_are_only_implied_are_made(store: Store, diff: Path) -> None:
    old = os.umask(0o077)
    try:
        put_tar(store, tar({"a/b/c": b"1", "a/b2/d": b"2"}))
    finally:
        os.umask(old)
    assert stat.S_IMODE((diff / "a/b").stat().st_mode) == 0o755
    assert (diff / "a/b2/d").read_bytes() == b"2"


def test_an_archives_own_links_to_folders_are_followed(store: Store, diff: Path) -> None:
    """As Debian's merged /usr has them."""
    put_tar(
        store,
        tar(
            [
                folder("usr"),
                folder("usr/lib"),
                symlink("lib", "usr/lib"),
                Entry("lib/x.so", b"1"),
                symlink("usr/lib64", "../usr/./lib"),
                Entry("usr/lib64/deep/y.so", b"2"),
                hard_link("z.so", "lib/x.so"),
            ]
        ),
    )
    assert (diff / "usr/lib/x.so").read_bytes() == b"1"
    assert (diff / "usr/lib/deep/y.so").read_bytes() == b"2"
    assert (diff / "z.so").stat().st_nlink == 2


def test_a_later_entry_replaces_an_earlier_one(store: Store, diff: Path) -> None:
    put_tar(
        store,
        tar(
            [
                Entry("f", b"old"),
                Entry("f", b"new"),
                Entry("d/below", b"1"),
                Entry("d", b"now a file"),
                Entry("g", b"1"),
                Entry("g/", type=tarfile.DIRTYPE, mode=0o700),
                Entry("g/h", b"2"),
                Entry("kept/a", b"1"),
                folder("kept", 0o750),
                Entry("n", b"1"),
                hard_link("n", "f"),
            ]
        ),
    )
    assert (diff / "f").read_bytes() == b"new"
    assert (diff / "d").read_bytes() == b"now a file"
    assert (diff / "g/h").read_bytes() == b"2"
    assert (diff / "kept/a").read_bytes() == b"1"
    assert stat.S_IMODE((diff / "kept").stat().st_mode) == 0o750
    assert (diff / "n").stat().st_nlink == 2
    assert store.check().problems == ()


def test_whiteouts_become_overlayfs_marks(store: Store, diff: Path) -> None:
    put_tar(
        store,
        tar(
            {
                ".wh.gone": b"",
                "etc/.wh.passwd": b"",
                "var/.wh..wh..opq": b"",
                "var/new": b"1",
                ".wh..wh.plnk/1.2": b"",
                ".wh..wh.aufs": b"",
            }
        ),
    )
    for name in ("gone", "etc/passwd"):
        status = (diff / name).stat()
        assert stat.S_ISCHR(status.st_mode)
        assert status.st_rdev == 0
    assert os.getxattr(diff / "var", "trusted.overlay.opaque") == b"y"
    assert sorted(os.listdir(diff)) == ["etc", "gone", "var"]
    assert store.check().problems == ()


@pytest.mark.parametrize("whiteout_first", [True, False])
def test_a_name_beside_its_own_whiteout_stays_and_hides_what_is_below(
    store: Store, diff: Path, whiteout_first: bool
) -> None:
    marks = [Entry(".wh.f"), Entry(".wh.d"), Entry(".wh.e")]
    names = [Entry("f", b"1"), folder("d"), Entry("d/x", b"2"), Entry("e/implied", b"3")]
    put_tar(store, tar([*marks, *names] if whiteout_first else [*names, *marks]))
    assert (diff / "f").read_bytes() == b"1"
    assert (diff / "d/x").read_bytes() == b"2"
    assert (diff / "e/implied").read_bytes() == b"3"
    for name in ("d", "e"):
        assert os.getxattr(diff / name, "trusted.overlay.opaque") == b"y"
    assert store.check().problems == ()


def test_a_whiteout_below_a_whiteout_is_nothing_more(store: Store, diff: Path) -> None:
    put_tar(store, tar([Entry(".wh.foo"), Entry("foo/.wh.bar")]))
    assert stat.S_ISCHR((diff / "foo").stat().st_mode)


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT])
def test_every_form_of_tar_is_read(store: Store, diff: Path, form: int) -> None:
    short = form == tarfile.USTAR_FORMAT
    name = "d" * 80 + "/" + ("n" * 90 if short else "long/" * 40 + "ü" * 100)
    link = "t" * (90 if short else 300)
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=form) as archive:
        info = tarfile.TarInfo(name)
        info.size, info.uid = 3, 1 if short else 3_000_000
        archive.addfile(info, io.BytesIO(b"abc"))
        info = tarfile.TarInfo("link")
        info.type, info.linkname = tarfile.SYMTYPE, link
        archive.addfile(info)
    put_tar(store, stream.getvalue())
    assert (diff / name).read_bytes() == b"abc"
    assert os.readlink(diff / "link") == link
    assert store.check().problems == ()


@pytest.mark.parametrize(
    "options",
    [
        ["--format=gnu"],
        ["--format=pax", "--sparse-version=0.0"],
        ["--format=pax", "--sparse-version=0.1"],
        ["--format=pax", "--sparse-version=1.0"],
    ],
    ids=["gnu", "0.0", "0.1", "1.0"],
)
def test_sparse_files_stay_sparse(store: Store, diff: Path, tmp_path: Path, options: list[str]) -> None:
    source = tmp_path / "source"
    source.mkdir()
    with open(source / "holes", "wb") as stream:
        for number in range(30):
            stream.seek(number * 400_000)
            stream.write(b"%d" % number * 3000)
        stream.truncate(40_000_000)
    (source / "after").write_bytes(b"still here")
    archive = tmp_path / "a.tar"
    subprocess.run(
        ["tar", "-C", str(source), "-S", *options, "-cf", str(archive), "holes", "after"], check=True
    )
    put_tar(store, archive.read_bytes())
    assert (diff / "holes").read_bytes() == (source / "holes").read_bytes()
    with open("/proc/self/mountinfo", encoding="utf-8") as stream:
        image = str(diff) in stream.read()  # EROFS counts no holes: its file tells
    kept = Path(store.layout.image_file("1")) if image else diff / "holes"
    assert kept.stat().st_blocks * 512 < 4_000_000
    assert (diff / "after").read_bytes() == b"still here"
    assert store.check().problems == ()


def test_a_global_pax_header_and_a_volume_label_are_no_entries(store: Store, diff: Path) -> None:
    comment = record(b"comment", b"made by git")
    put_tar(
        store,
        header(b"pax_global_header", kind=b"g", size=len(comment))
        + padded(comment)
        + header(b"label", kind=b"V")
        + header(b"f", size=3)
        + padded(b"abc")
        + END,
    )
    assert os.listdir(diff) == ["f"]


def test_base_256_numbers_are_read(store: Store, diff: Path) -> None:
    put_tar(store, header(b"f", uid=b"\x80" + (3_000_000_000).to_bytes(7, "big")) + END)
    assert (diff / "f").stat().st_uid == 3_000_000_000


def test_an_archive_without_its_end_marks_is_read(store: Store, diff: Path) -> None:
    put_tar(store, header(b"f", size=3) + padded(b"abc"))
    assert (diff / "f").read_bytes() == b"abc"


def test_an_empty_layer_is_a_layer(store: Store, diff: Path) -> None:
    put_tar(store, b"")
    put_tar(store, END)
    assert os.listdir(diff) == []


def test_what_follows_the_end_is_part_of_the_digest(store: Store) -> None:
    put_tar(store, tar({"f": b"1"}) + bytes(100_000))


def _members(data: bytes) -> bytes:
    return b"".join(gzipped(data[at : at + 7000]) for at in range(0, len(data), 7000))


def _frames(data: bytes) -> bytes:
    pack = zstandard.ZstdCompressor(level=1).compress
    skippable = b"\x50\x2a\x4d\x18" + struct.pack("<I", 4) + b"skip"
    return skippable + pack(data[:5000]) + skippable + pack(data[5000:]) + skippable


@pytest.mark.parametrize(
    "pack",
    [
        lambda data: data,
        gzipped,
        _members,
        lambda data: gzipped(data) + bytes(1000),
        zstandard.ZstdCompressor(level=1).compress,
        _frames,
    ],
    ids=["none", "gzip", "gzip members", "gzip padded", "zstd", "zstd frames"],
)
def test_compression_is_what_the_bytes_say(store: Store, diff: Path, pack: object) -> None:
    assert callable(pack)
    data = tar({"f": random.Random(1).randbytes(50_000), "g": b"x" * 3_000_000})
    put_tar(store, data, blob=pack(data))
    assert (diff / "g").stat().st_size == 3_000_000


@pytest.mark.parametrize(
    "damage",
    [
        lambda blob: blob[:-9],
        lambda blob: blob[: len(blob) // 2],
        lambda blob: blob + b"rubbish",
        lambda blob: blob[:2000] + bytes(50) + blob[2050:],
    ],
    ids=["no trailer", "half", "rubbish after", "hole"],
)
def test_a_broken_gzip_is_refused(store: Store, damage: object) -> None:
    assert callable(damage)
    data = tar({"f": random.Random(1).randbytes(50_000)})
    with pytest.raises(Corrupt):
        put_tar(store, data, blob=damage(gzip.compress(data)))


def test_zlib_reads_what_isal_reads(monkeypatch: pytest.MonkeyPatch, store: Store, diff: Path) -> None:
    from orlop.image import decompress

    monkeypatch.setattr(decompress, "_inflater", lambda: (decompress._Zlib(), zlib.error))
    data = tar({"f": random.Random(1).randbytes(50_000), "g": bytes(5_000_000)})
    put_tar(store, data, blob=_members(data))
    assert (diff / "g").stat().st_size == 5_000_000


def test_debians_tar_and_ours_agree(store: Store, diff: Path, tmp_path: Path) -> None:
    """A real tree: what GNU tar reads back from our folder is what it packed."""
    pack = ["tar", "--format=pax", "--xattrs", "--sort=name", "--numeric-owner", "-cf", "-"]
    pack += ["--pax-option=delete=atime,delete=ctime", "--exclude=*/__pycache__*"]
    before = subprocess.run(
        [*pack, "-C", "/", "etc", "usr/lib/python3.11/email"], check=True, capture_output=True
    ).stdout
    put_tar(store, before, blob=gzipped(before))
    after = subprocess.run(
        [*pack, "-C", str(diff), "etc", "usr/lib/python3.11/email"], check=True, capture_output=True
    ).stdout
    assert before == after
    assert store.check().problems == ()


def test_pax_records_of_another_writer_are_read(store: Store, diff: Path) -> None:
    records = record(b"LIBARCHIVE.xattr.user.a%20b", b"dmFsdWU") + record(b"path", b"f")
    put_tar(store, pax(records, header(b"other name")))
    assert os.getxattr(diff / "f", "user.a b") == b"value"
    assert len(records) < BLOCK
