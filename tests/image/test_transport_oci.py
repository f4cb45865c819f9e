"""oci: what a layout is beyond one image: many names, nested indexes, referrers, writers at the same time."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from orlop.image.digest import Digest
from orlop.image.manifest import OCI_INDEX
from orlop.image.transport.oci import OciDestination, OciSource, delete
from orlop.image.transport.oci_archive import OciArchiveDestination, OciArchiveSource
from orlop.kit.errors import Conflict, Corrupt, InvalidInput, LimitExceeded, NotFound, Unsupported
from tests.image.transport_suite import (
    METER,
    Bytes,
    Place,
    artifact_of,
    assert_holds,
    descriptor_of,
    put_blobs,
    raw_of,
    read_blob,
    write,
)
from tests.support import schemas
from tests.support.images import Image, Index, Layer, descriptor, digest, tar, write_layout

NAME = "org.opencontainers.image.ref.name"


def image_of(content: bytes, **changes: Any) -> Image:
    return Image((Layer(tar({"file": content * 1000})),), {"Cmd": ["sh"]}, **changes)


def place_of(layout: Path, name: str = "") -> Place:
    return Place(lambda: OciSource(str(layout), name), lambda: OciDestination(str(layout), name))


def index_of(layout: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((layout / "index.json").read_bytes())
    return found


def rewrite(layout: Path, change: Callable[[dict[str, Any]], object]) -> None:
    document = index_of(layout)
    change(document)
    (layout / "index.json").write_text(json.dumps(document))


def put_raw(layout: Path, data: bytes) -> str:
    """A blob as other tools write it."""
    (layout / "blobs/sha256" / digest(data)[7:]).write_bytes(data)
    return digest(data)


class TestNames:
    def test_many_images_live_in_one_layout(self, tmp_path: Path) -> None:
        images = {name: image_of(name.encode()) for name in ("a", "b:1", "example.com/c:2")}
        for name, image in images.items():
            write(place_of(tmp_path / "l", name), image)
        for name, image in images.items():
            assert_holds(place_of(tmp_path / "l", name), image)
        assert OciSource(str(tmp_path / "l"), "a").tags() == tuple(images)

    def test_without_a_name_the_only_image_is_meant(self, tmp_path: Path) -> None:
        layout = tmp_path / "l"
        write(place_of(layout, "a"), image_of(b"a"))
        assert_holds(place_of(layout), image_of(b"a"))
        write(place_of(layout, "b"), image_of(b"a"))
        assert_holds(place_of(layout), image_of(b"a"))  # two names of one image
        write(place_of(layout, "c"), image_of(b"c"))
        with pytest.raises(InvalidInput) as caught:
            OciSource(str(layout)).manifest()
        assert "a, b, c" in caught.value.hint
        write(place_of(layout), image_of(b"d"))
        assert_holds(place_of(layout), image_of(b"d"))  # the one without a name

    def test_an_entry_is_named_by_its_digest_or_place(self, tmp_path: Path) -> None:
        layout = tmp_path / "l"
        for name in ("a", "b"):
            write(place_of(layout, name), image_of(name.encode()))
        assert OciSource(str(layout), "@1").manifest().digest == image_of(b"b").digest
        wanted = image_of(b"a").digest
        assert OciSource(str(layout), f"@{wanted}").manifest().digest == wanted
        for absent in ("@2", f"@{digest(b'')}", "c"):
            with pytest.raises(NotFound):
                OciSource(str(layout), absent).manifest()

    def test_a_name_within_a_nested_index_is_found(self, tmp_path: Path) -> None:
        image = image_of(b"nested")
        layout = write_layout(tmp_path / "l", {"x": image})
        inner = {
            "schemaVersion": 2,
            "mediaType": OCI_INDEX,
            "manifests": [{**descriptor(image.media_type, image.manifest), "annotations": {NAME: "deep"}}],
        }
        for _ in range(2):
            data = json.dumps(inner).encode()
            put_raw(layout, data)
            inner = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [descriptor(OCI_INDEX, data)]}
        (layout / "index.json").write_text(json.dumps(inner))
        assert OciSource(str(layout), "deep").manifest().digest == image.digest

    @pytest.mark.parametrize("name", ["@x", "a b", "a\n", "ü", "x" * 5000])
    def test_names_that_no_layout_has_are_refused(self, tmp_path: Path, name: str) -> None:
        with pytest.raises(InvalidInput):
            OciDestination(str(tmp_path / "l"), name)
        assert not (tmp_path / "l").exists()


class TestWriting:
    def test_what_others_wrote_into_the_index_stays(self, tmp_path: Path) -> None:
        layout = write_layout(tmp_path / "l", {"a": image_of(b"a"), "b": image_of(b"b")})

        def note(document: dict[str, Any]) -> None:
            document["annotations"] = {"org.example.note": "mine"}
            document["manifests"][0]["annotations"]["org.example.more"] = "ours"
            document["manifests"][0]["platform"] = {"os": "linux", "architecture": "amd64"}

        rewrite(layout, note)
        before = index_of(layout)
        write(place_of(layout, "b"), image_of(b"other"))
        after = index_of(layout)
        assert after["annotations"] == before["annotations"]
        assert after["manifests"][0] == before["manifests"][0]
        assert [entry["annotations"][NAME] for entry in after["manifests"]] == ["a", "b"]

    def test_writers_at_the_same_time_lose_nothing(self, tmp_path: Path) -> None:
        layout = tmp_path / "l"
        images = {f"v{n}": image_of(b"%d" % (n % 4)) for n in range(16)}

        def put(name: str) -> None:
            write(place_of(layout, name), images[name])

        with ThreadPoolExecutor(8) as threads:
            list(threads.map(put, images))
        for name, image in images.items():
            assert_holds(place_of(layout, name), image)
        assert sorted(path.name for path in layout.iterdir()) == ["blobs", "index.json", "oci-layout"]

    def test_writers_in_many_processes_lose_nothing(self, tmp_path: Path) -> None:
        children = [_child(tmp_path / "l", f"v{n}", "commit") for n in range(6)]
        assert [child.wait(60) for child in children] == [0] * 6
        assert len(index_of(tmp_path / "l")["manifests"]) == 6
        for n in range(6):
            assert_holds(place_of(tmp_path / "l", f"v{n}"), image_of(f"v{n}".encode()))

    def test_a_killed_writer_leaves_the_earlier_image_and_the_next_one_cleans_up(
        self, tmp_path: Path
    ) -> None:
        layout = tmp_path / "l"
        write(place_of(layout, "v1"), image_of(b"v1"))
        child = _child(layout, "v1", "hang")
        assert child.stdout is not None
        assert child.stdout.readline() == b"put\n"
        child.send_signal(signal.SIGKILL)
        child.wait(20)
        assert_holds(place_of(layout, "v1"), image_of(b"v1"))
        assert any(path.name.startswith(".orlop-") for path in layout.iterdir())
        write(place_of(layout, "v2"), image_of(b"v2"))
        assert not any(path.name.startswith(".orlop-") for path in layout.iterdir())

    def test_a_writer_that_lives_is_not_cleaned_away(self, tmp_path: Path) -> None:
        layout = tmp_path / "l"
        first = OciDestination(str(layout), "a")
        put_blobs(first, image_of(b"a"))
        write(place_of(layout, "b"), image_of(b"b"))
        first.put_manifest(raw_of(image_of(b"a")))
        first.commit(Digest(image_of(b"a").digest))
        first.close()
        assert_holds(place_of(layout, "a"), image_of(b"a"))

    def test_a_folder_with_something_else_in_it_is_left_alone(self, tmp_path: Path) -> None:
        (tmp_path / "letter").write_text("dear")
        with pytest.raises(Conflict):
            OciDestination(str(tmp_path), "a")
        assert [path.name for path in tmp_path.iterdir()] == ["letter"]

    def test_a_stream_is_taken_before_its_digest_is_known(self, tmp_path: Path) -> None:
        image = image_of(b"streamed")
        destination = OciDestination(str(tmp_path / "l"), "a")
        for data in image.blobs:
            answer = (Digest(digest(data)), len(data))
            destination.put_stream(Bytes(data), METER, lambda answer=answer: answer)  # type: ignore[misc]
        destination.put_manifest(raw_of(image))
        destination.commit(Digest(image.digest))
        destination.close()
        assert_holds(place_of(tmp_path / "l", "a"), image)

    def test_simple_signatures_have_no_place(self, tmp_path: Path) -> None:
        destination = OciDestination(str(tmp_path / "l"), "a")
        destination.put_signatures(Digest(digest(b"")), ())
        with pytest.raises(Unsupported):
            destination.put_signatures(Digest(digest(b"")), (b"signature",))
        destination.close()


class TestAttachments:
    @pytest.mark.parametrize("kind", ["folder", "archive"])
    def test_referrers_and_tags_come_along(self, tmp_path: Path, kind: str) -> None:
        path = str(tmp_path / "l")
        image = image_of(b"signed")
        artifact, blobs = artifact_of(image, "application/vnd.example.sbom")
        signature, more = artifact_of(image, "application/vnd.example.signature", b'{"a":1}')
        tag = f"sha256-{image.digest[7:]}.sig"
        opened = OciDestination(path, "a") if kind == "folder" else OciArchiveDestination(path, "a")
        put_blobs(opened, image)
        for data in (*blobs, *more):
            opened.put_blob(descriptor_of(data), Bytes(data), METER)
        for raw in (artifact, signature, raw_of(image)):
            opened.put_manifest(raw)
        opened.put_manifest(signature, tag=tag)
        opened.commit(Digest(image.digest))
        opened.close()
        source = OciSource(path, "a") if kind == "folder" else OciArchiveSource(path, "a")
        found = {entry.digest: entry for entry in source.referrers(Digest(image.digest))}
        assert set(found) == {artifact.digest, signature.digest}
        assert found[artifact.digest].artifact_type == "application/vnd.example.sbom"
        assert found[artifact.digest].annotations == {"org.example.note": "made by a test"}
        assert source.tagged(tag) == signature
        assert source.tagged("another") is None
        assert source.referrers(artifact.digest) == ()
        assert OciSource(path).manifest().digest == image.digest if kind == "folder" else True
        if kind == "folder":
            schemas.check("index", index_of(Path(path)))

    def test_referrers_that_others_listed_by_tag_are_found(self, tmp_path: Path) -> None:
        """The referrers tag schema: an index under the tag sha256-HEX."""
        image = image_of(b"signed")
        artifact, blobs = artifact_of(image, "application/vnd.example.sbom")
        layout = write_layout(tmp_path / "l", {"a": image})
        for data in (*blobs, artifact.data):
            put_raw(layout, data)
        listed = {
            "schemaVersion": 2,
            "mediaType": OCI_INDEX,
            "manifests": [descriptor(artifact.media_type, artifact.data)],
        }
        data = json.dumps(listed).encode()
        put_raw(layout, data)
        entry = {**descriptor(OCI_INDEX, data), "annotations": {NAME: f"sha256-{image.digest[7:]}"}}
        rewrite(layout, lambda document: document["manifests"].append(entry))
        source = OciSource(str(layout))
        assert [found.digest for found in source.referrers(Digest(image.digest))] == [artifact.digest]
        assert source.manifest().digest == image.digest


class TestDeleting:
    def test_only_what_no_other_image_needs_goes(self, tmp_path: Path) -> None:
        shared = Layer(tar({"shared": b"x" * 5000}))
        first = Image((shared, Layer(tar({"one": b"1"}))))
        second = Image((shared, Layer(tar({"two": b"2"}))))
        layout = write_layout(tmp_path / "l", {"a": first, "b": second})
        assert delete(str(layout), "a") == first.digest
        assert_holds(place_of(layout, "b"), second)
        left = {path.name for path in (layout / "blobs/sha256").iterdir()}
        assert left == {digest(data)[7:] for data in (*second.blobs, second.manifest)}
        with pytest.raises(NotFound):
            delete(str(layout), "a")
        delete(str(layout), "b")
        assert not any((layout / "blobs/sha256").iterdir())

    def test_an_index_goes_with_its_images(self, tmp_path: Path) -> None:
        index = Index((image_of(b"a"), image_of(b"b", architecture="arm64")))
        layout = write_layout(tmp_path / "l", {"all": index, "b": image_of(b"b", architecture="arm64")})
        delete(str(layout), "all")
        assert_holds(place_of(layout, "b"), image_of(b"b", architecture="arm64"))
        assert len(list((layout / "blobs/sha256").iterdir())) == 3

    def test_a_writer_that_counted_on_a_deleted_blob_is_told(self, tmp_path: Path) -> None:
        image = image_of(b"a")
        layout = write_layout(tmp_path / "l", {"a": image})
        destination = OciDestination(str(layout), "b")
        assert all(destination.has_blob(descriptor_of(data)) for data in image.blobs)
        destination.put_manifest(raw_of(image))
        delete(str(layout), "a")
        with pytest.raises(Conflict):
            destination.commit(Digest(image.digest))
        destination.close()
        assert index_of(layout)["manifests"] == []


class TestHostile:
    @pytest.fixture
    def layout(self, tmp_path: Path) -> Path:
        return write_layout(tmp_path / "l", {"a": image_of(b"a")})

    def refused(self, layout: Path, *kinds: type[Exception]) -> None:
        with pytest.raises(kinds or (Corrupt,)):
            source = OciSource(str(layout), "a")
            raw = source.manifest()
            for data in image_of(b"a").blobs:
                read_blob(source, descriptor_of(data))
            assert raw

    def test_a_blob_that_is_not_what_its_name_says(self, layout: Path) -> None:
        for data in (*image_of(b"a").blobs, image_of(b"a").manifest):
            path = layout / "blobs/sha256" / digest(data)[7:]
            path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
            self.refused(layout)
            path.write_bytes(data)

    def test_a_blob_that_is_longer_or_shorter(self, layout: Path) -> None:
        data = image_of(b"a").blobs[1]
        path = layout / "blobs/sha256" / digest(data)[7:]
        for other in (data + b"x", data[:-1], b""):
            path.write_bytes(other)
            self.refused(layout)

    @pytest.mark.parametrize("name", ["index.json", "oci-layout", "blob"])
    @pytest.mark.parametrize("kind", ["link", "fifo", "folder", "upwards"])
    def test_what_is_no_plain_file_within(self, layout: Path, tmp_path: Path, name: str, kind: str) -> None:
        path = layout / name
        if name == "blob":
            path = layout / "blobs/sha256" / image_of(b"a").digest[7:]
        outside = tmp_path / "outside"
        path.rename(outside)
        if kind == "link":
            path.symlink_to(outside)
        elif kind == "upwards":
            path.symlink_to(os.path.relpath(outside, path.parent))
        elif kind == "fifo":
            os.mkfifo(path)
        else:
            path.mkdir()
        self.refused(layout)

    def test_links_that_stay_within_are_followed(self, layout: Path) -> None:
        path = layout / "blobs/sha256" / image_of(b"a").digest[7:]
        path.rename(layout / "elsewhere")
        path.symlink_to("../../elsewhere")
        assert_holds(place_of(layout, "a"), image_of(b"a"))

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "[]",
            "{",
            '{"schemaVersion":3,"manifests":[]}',
            '{"schemaVersion":2,"manifests":{}}',
            '{"schemaVersion":2,"manifests":[],"manifests":[]}',
            '{"schemaVersion":2,"manifests":[{"digest":"sha256:../../../etc/passwd","size":1}]}',
            '{"schemaVersion":2,"manifests":[{"digest":"md5:00","size":1,"mediaType":"a/b"}]}',
            '{"schemaVersion":2,"manifests":[],"layers":[]}',
            "[" * 100_000,
        ],
    )
    def test_an_index_that_is_none(self, layout: Path, text: str) -> None:
        (layout / "index.json").write_text(text)
        self.refused(layout)
        with pytest.raises(Corrupt):
            write(place_of(layout, "b"), image_of(b"b"))
        assert (layout / "index.json").read_text() == text

    def test_a_huge_index(self, layout: Path) -> None:
        with (layout / "index.json").open("r+b") as stream:
            stream.truncate(5 << 30)
        self.refused(layout, LimitExceeded)

    def test_an_index_that_contains_itself_many_times_over(self, layout: Path) -> None:
        """Each level names the next one a thousand times: a walk of all would not end."""
        entries = [descriptor(image_of(b"a").media_type, image_of(b"a").manifest)]
        for _ in range(6):
            document = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}
            data = json.dumps(document).encode()
            put_raw(layout, data)
            entries = [descriptor(OCI_INDEX, data)] * 1000
        rewrite(layout, lambda found: found.update(manifests=entries))
        begun = time.monotonic()
        with pytest.raises((NotFound, LimitExceeded)):
            OciSource(str(layout), "nowhere").manifest()
        OciSource(str(layout), "@0").referrers(Digest(image_of(b"a").digest))
        assert time.monotonic() - begun < 20

    @pytest.mark.parametrize(
        "text", ["{}", '{"imageLayoutVersion":"2.0.0"}', "x", '{"imageLayoutVersion":1}']
    )
    def test_another_kind_of_layout(self, layout: Path, text: str) -> None:
        (layout / "oci-layout").write_text(text)
        self.refused(layout)

    def test_no_layout_at_all(self, tmp_path: Path) -> None:
        with pytest.raises(NotFound):
            OciSource(str(tmp_path))
        with pytest.raises(NotFound):
            OciSource(str(tmp_path / "absent"))

    def test_an_entry_with_a_wrong_size(self, layout: Path) -> None:
        rewrite(layout, lambda document: document["manifests"][0].update(size=7))
        self.refused(layout)

    def test_an_entry_with_another_type(self, layout: Path) -> None:
        rewrite(layout, lambda document: document["manifests"][0].update(mediaType=OCI_INDEX))
        self.refused(layout)


_CHILD = """
import sys, time
from pathlib import Path
from orlop.image.digest import Digest
from orlop.image.transport.oci import OciDestination
from tests.image.test_transport_oci import image_of
from tests.image.transport_suite import put_blobs, raw_of
layout, name, what = sys.argv[1:]
image = image_of(name.encode() if what == "commit" else b"never")
destination = OciDestination(layout, name)
put_blobs(destination, image)
destination.put_manifest(raw_of(image))
print("put", flush=True)
if what == "hang":
    time.sleep(60)
destination.commit(Digest(image.digest))
destination.close()
"""


def _child(layout: Path, name: str, what: str) -> subprocess.Popen[bytes]:
    """A writer in a process of its own."""
    root = Path(__file__).parents[2]
    return subprocess.Popen(
        [sys.executable, "-c", _CHILD, str(layout), name, what],
        cwd=root,
        env={**os.environ, "PYTHONPATH": f"{root}:{root}/src"},
        stdout=subprocess.PIPE,
    )
