"""oci:PATH[:REF]: an OCI image layout in a folder (image-spec 1.1, image-layout.md)."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

from orlop.image import manifest
from orlop.image.digest import Digest
from orlop.image.manifest import Descriptor, Manifest
from orlop.image.sink import Reader
from orlop.image.transport.destination import Abilities
from orlop.image.transport.layout import entries
from orlop.image.transport.layout.delete import delete
from orlop.image.transport.layout.entries import Put
from orlop.image.transport.layout.files import FolderFiles, told
from orlop.image.transport.layout.reading import Turn, checked
from orlop.image.transport.layout.source import LayoutSource
from orlop.image.transport.layout.staging import PREFIX, Staging, blob_name
from orlop.image.transport.source import RawManifest
from orlop.kit import files, limits, locks
from orlop.kit.errors import Conflict, InvalidInput, Unsupported
from orlop.kit.progress import Meter
from orlop.kit.tasks import Cancellation

__all__ = ["ABILITIES", "OciDestination", "OciSource", "delete"]

ABILITIES = Abilities(
    media_types=(manifest.OCI_MANIFEST, manifest.OCI_INDEX),
    compressions=("gzip", "zstd", ""),
    indexes=True,
    signatures=False,
)


class OciSource(LayoutSource):
    """transport.Source. `reference`: a name, `@DIGEST`, `@N` or "" for the only image."""

    def __init__(self, path: str, reference: str = "", cancellation: Cancellation | None = None) -> None:
        super().__init__(FolderFiles(path, f"oci:{path}"), reference, cancellation)


class OciDestination:
    """transport.Destination. Blobs are staged within the layout; `commit` publishes them and their name.

    Many writers may share one layout: index.json changes under a lock of the folder (flock(2)).
    """

    def __init__(self, path: str, reference: str = "", cancellation: Cancellation | None = None) -> None:
        self._path = os.path.abspath(path)
        self._subject = f"oci:{path}"
        self._reference = check_name(reference, self._subject)
        self._turn = Turn(cancellation)
        self._lock = threading.Lock()
        self._manifests: dict[Digest, RawManifest] = {}
        self._tags: dict[str, Digest] = {}
        _check_free(self._path, self._subject)
        self._staging = Staging(self._path, self._subject, self._turn)

    @property
    def abilities(self) -> Abilities:
        return ABILITIES

    def has_blob(self, blob: Descriptor) -> bool:
        self._turn.check()
        return self._staging.has(blob_name(blob.digest)) or self._there(blob.digest) == blob.size

    def put_blob(self, blob: Descriptor, reader: Reader, meter: Meter) -> None:
        self._staging.put_blob(blob_name(blob.digest), blob, reader)

    def put_stream(self, reader: Reader, meter: Meter, describe: Callable[[], tuple[Digest, int]]) -> None:
        """destination.Streaming."""
        self._staging.put_stream(reader, describe, blob_name)

    def put_manifest(self, manifest: RawManifest, *, tag: str = "") -> None:
        self._turn.check()
        checked(manifest.data, manifest.digest, self._subject)
        with self._lock:
            self._manifests[manifest.digest] = manifest
            if tag:
                self._tags[check_name(tag, self._subject)] = manifest.digest
        self._staging.put_bytes(blob_name(manifest.digest), manifest.data)

    def put_signatures(self, digest: Digest, signatures: tuple[bytes, ...]) -> None:
        if signatures:
            raise Unsupported(
                self._subject,
                "a layout holds no simple-signing signatures",
                hint="copy to dir: or a registry, or without signatures",
            )

    def commit(self, top: Digest) -> None:
        """Raises Conflict where a blob is missing that its manifests name."""
        self._turn.check()
        with self._lock, locks.hold(self._path, tick=self._turn.check), told(self._subject):
            puts = self._puts(top)
            self._check_whole()
            text = edited_index(self._path, puts, self._subject, replace_unnamed=not self._reference)
            self._staging.publish()
            layout = os.path.join(self._path, entries.LAYOUT)
            if not os.path.exists(layout):
                files.write_atomic(layout, entries.LAYOUT_TEXT)
            files.write_atomic(os.path.join(self._path, entries.INDEX), text)

    def close(self) -> None:
        self._turn.close()
        self._staging.close()

    def _there(self, digest: Digest) -> int:
        """Its size in the layout, -1 where it is not there."""
        try:
            return os.stat(os.path.join(self._path, blob_name(digest))).st_size
        except OSError:
            return -1

    def _puts(self, top: Digest) -> list[Put]:
        if top not in self._manifests:
            raise InvalidInput(str(top), "is no manifest that was put", hint="put it before the commit")
        return puts_of(self._manifests, self._tags, top, self._reference)

    def _check_whole(self) -> None:
        for raw in self._manifests.values():
            for blob in wanted_blobs(raw):
                if not self._staging.has(blob_name(blob.digest)) and self._there(blob.digest) != blob.size:
                    raise missing(self._subject, blob.digest)


def puts_of(
    manifests: dict[Digest, RawManifest], tags: dict[str, Digest], top: Digest, reference: str
) -> list[Put]:
    """The entries of index.json for what was put: attachments, referrers, and `top` under its name, last."""
    puts = [
        entries.entry_of(manifests[digest].data, manifests[digest].media_type, digest, name=tag)
        for tag, digest in tags.items()
    ]
    for digest, raw in manifests.items():
        parsed = manifest.parse(raw.data, raw.media_type, str(digest))
        if parsed.subject is not None and digest != top and digest not in tags.values():
            puts.append(entries.entry_of(raw.data, raw.media_type, digest))
    raw = manifests[top]
    return [*puts, entries.entry_of(raw.data, raw.media_type, top, name=reference)]


def wanted_blobs(raw: RawManifest) -> tuple[Descriptor, ...]:
    """What has to be there with the manifest; the images of an index may be left out (a sparse index)."""
    parsed = manifest.parse(raw.data, raw.media_type, str(raw.digest))
    if not isinstance(parsed, Manifest):
        return ()
    return tuple(
        blob for blob in (parsed.config, *parsed.layers) if "nondistributable" not in blob.media_type
    )


def missing(subject: str, digest: Digest) -> Conflict:
    return Conflict(
        subject, f"blob {digest} is missing: it was not put, or was removed", hint="copy the image again"
    )


def edited_index(path: str, puts: list[Put], subject: str, *, replace_unnamed: bool) -> bytes:
    try:
        data: bytes | None = files.read_bounded(os.path.join(path, entries.INDEX), limits.MANIFEST_SIZE)
    except FileNotFoundError:
        data = None
    return entries.edited(data, puts, subject, replace_unnamed=replace_unnamed)


def check_name(name: str, subject: str) -> str:
    """annotations.md allows more than a tag: letters, digits and -._:@/+ (but no leading `@`)."""
    if name and (len(name) > limits.PATH_LENGTH or name.startswith("@") or not _plain(name)):
        raise InvalidInput(
            f"{subject}:{name}"[:300], "is no name for an image", hint="use letters, digits and -._:/+"
        )
    return name


def _plain(name: str) -> bool:
    return all(character.isascii() and (character.isalnum() or character in "-._:@/+") for character in name)


def _check_free(path: str, subject: str) -> None:
    """Refuse a folder that holds something else, before anything is written. Raises Conflict."""
    with told(subject):
        if os.path.lexists(path) and not os.path.isdir(path):
            raise Conflict(subject, "is no folder", hint="choose another path")
        if not os.path.isdir(path) or os.path.exists(os.path.join(path, entries.LAYOUT)):
            return
        if any(not name.startswith(PREFIX) and name != "blobs" for name in os.listdir(path)):
            raise Conflict(
                subject, "is a folder with other files in it", hint="choose a new path or an image layout"
            )
