"""The archive of a folder: what goes in, in which order, and that unpacking it gives the folder again."""

from __future__ import annotations

import io
import os
import stat
import tarfile
from pathlib import Path

import pytest

from orlop.build.mountpoints import Mountpoints
from orlop.image.digest import Digest
from orlop.image.sink import LayerRequest
from orlop.kit import limits
from orlop.kit.errors import InvalidInput
from orlop.kit.node import Node
from orlop.kit.progress import QuietMeter
from orlop.store.pack.folder import Times, pack
from orlop.store.store import Store
from tests.build.builds import Bench
from tests.support.node import opened

pytestmark = pytest.mark.host  # devices, owners, overlayfs' attributes


def _packed(folder: Path, times: Times | None = None, *, below: tuple[bytes, ...] = ()) -> bytes:
    stream = io.BytesIO()
    pack(
        str(folder),
        stream.write,
        times=times or Times(),
        hides=lambda path: path in below,
        tick=lambda: None,
    )
    return stream.getvalue()


def _fill(folder: Path) -> None:
    folder.mkdir()
    (folder / "d").mkdir(mode=0o750)
    (folder / "d" / "f").write_text("text")
    os.link(folder / "d" / "f", folder / "d" / "hard")
    os.symlink("f", folder / "d" / "soft")
    os.mkfifo(folder / "fifo", 0o600)
    os.mknod(folder / "device", stat.S_IFCHR | 0o640, os.makedev(1, 3))
    (folder / ("n" * 180)).write_bytes(b"x" * 200_000)
    (folder / "ünïcode").write_text("")
    os.setxattr(folder / "d" / "f", "user.note", b"\0\n=")
    os.chown(folder / "d", 3_000_000, 70_000)
    os.chmod(folder / "ünïcode", 0o6755)
    os.utime(folder / "d" / "f", ns=(5_123_456_789, 5_123_456_789))


def test_the_same_files_give_the_same_bytes(tmp_path: Path) -> None:
    _fill(tmp_path / "one")
    _fill(tmp_path / "two")
    assert _packed(tmp_path / "one", Times(10)) == _packed(tmp_path / "two", Times(10))


def test_everything_is_in_it(tmp_path: Path) -> None:
    _fill(tmp_path / "one")
    with tarfile.open(fileobj=io.BytesIO(_packed(tmp_path / "one", Times(10)))) as archive:
        found = {member.name: member for member in archive}
    assert [member.mtime for member in found.values() if member.mtime > 10] == []
    assert found["d/f"].mtime == 5
    assert (found["d"].uid, found["d"].gid, found["d"].mode) == (3_000_000, 70_000, 0o750)
    assert found["d/f"].pax_headers["SCHILY.xattr.user.note"] == "\0\n="
    assert (found["d/hard"].type, found["d/hard"].linkname) == (tarfile.LNKTYPE, "d/f")
    assert (found["device"].devmajor, found["device"].devminor) == (1, 3)
    assert found["ünïcode"].mode == 0o6755
    assert found["n" * 180].size == 200_000
    assert found["fifo"].isfifo()
    assert found["d/soft"].linkname == "f"


def test_a_whiteout_and_an_opaque_folder(tmp_path: Path) -> None:
    top = tmp_path / "top"
    (top / "opaque").mkdir(parents=True)
    (top / "new").mkdir()
    for name in ("opaque", "new"):
        os.setxattr(top / name, "trusted.overlay.opaque", b"y")
    os.mknod(top / "gone", stat.S_IFCHR, 0)
    with tarfile.open(fileobj=io.BytesIO(_packed(top, below=(b"opaque",)))) as archive:
        assert archive.getnames() == [".wh.gone", "new", "opaque", "opaque/.wh..wh..opq"]
    assert "trusted.overlay.opaque" not in os.listxattr(top / "new")


def test_what_no_layer_can_hold(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / ".wh.x").write_text("")
    with pytest.raises(InvalidInput, match="would remove another"):
        _packed(tmp_path / "d")


def test_nothing_gives_nothing(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    assert _packed(tmp_path) == b""


def test_an_unusual_root_is_kept_and_no_change_by_itself(bench: Bench) -> None:
    text = "FROM busybox\nRUN chmod 711 / && touch /f\n"
    one = bench.make(text)
    assert bench.layer_names(one) == [".", "f"]
    two = bench.make(text + "RUN true\nRUN touch /g\n")
    assert bench.layer_names(two) == [".", "g"]
    assert len(bench.config(two)["rootfs"]["diff_ids"]) == len(bench.config(one)["rootfs"]["diff_ids"]) + 1
    with bench.store.image_root(two.id) as root:
        assert stat.S_IMODE(os.stat(root).st_mode) == 0o711


def test_a_layer_made_here_is_as_one_that_was_pulled(bench: Bench, tmp_path: Path) -> None:
    """The store's own verification finds the folder as an extraction elsewhere would have left it."""
    store = bench.store
    with store.lease(), store.scratch_root("") as root:
        _fill(Path(root.path) / "below")
        made = root.commit(None, Times(1000))
    assert made is not None
    assert store.check().clean
    elsewhere = Store(Node(str(tmp_path / "r"), str(tmp_path / "s"), bench.node.config))
    data = Path(store.layout.blob(made.diff_id)).read_bytes()
    assert Digest.of(data) == made.diff_id
    request = LayerRequest(made.chain_id, None, made.diff_id, "", made.diff_id, len(data))

    def opened_blob() -> object:
        import contextlib

        return contextlib.nullcontext(io.BytesIO(data))

    with elsewhere.lease():
        elsewhere.ensure_layer(request, opened_blob, meter=QuietMeter(), tick=lambda: None)  # type: ignore[arg-type]
    assert elsewhere.check().clean
    elsewhere.close()


def test_mount_points_that_were_used_stay(tmp_path: Path) -> None:
    root, upper = tmp_path / "root", tmp_path / "upper"
    (root / "there").mkdir(parents=True)
    points = Mountpoints()
    points.look(str(root), ["/there/file", "/new/deep/folder", "/used", "/wrote/in/it"])
    for folder in ("there", "new/deep/folder", "used", "wrote/in/it"):
        (upper / folder).mkdir(parents=True)
    (upper / "there" / "file").touch()
    (upper / "used" / "own").touch()
    (upper / "wrote" / "by-hand").touch()
    points.clean(str(upper))
    left = sorted(str(path.relative_to(upper)) for path in upper.rglob("*"))
    assert left == ["used", "used/own", "wrote", "wrote/by-hand"]


def test_limits_hold(bench: Bench) -> None:
    assert limits.SECRETS_PER_RUN < 12  # the pod's tmpfs has 16 inodes
    lines = "".join(f"--mount=type=secret,id=s{n} " for n in range(limits.SECRETS_PER_RUN + 1))
    with pytest.raises(InvalidInput, match="secrets"):
        bench.make(f"FROM busybox\nRUN {lines} true")
    with opened(bench.node) as pods:
        assert not pods.records.rows("sandboxes")
