"""oci-archive:PATH[:REF]: an OCI image layout in a tar file, perhaps compressed when it is read."""

from __future__ import annotations

import threading

from orlop.image.digest import Digest
from orlop.image.manifest import Descriptor
from orlop.image.sink import Reader
from orlop.image.transport import oci
from orlop.image.transport.destination import Abilities
from orlop.image.transport.layout import entries
from orlop.image.transport.layout.reading import Turn, checked
from orlop.image.transport.layout.source import LayoutSource
from orlop.image.transport.layout.staging import blob_name
from orlop.image.transport.layout.tar_index import ArchiveFiles
from orlop.image.transport.layout.tar_write import TarWriter
from orlop.image.transport.source import RawManifest
from orlop.kit.errors import InvalidInput, Unsupported
from orlop.kit.progress import Meter
from orlop.kit.tasks import Cancellation


class OciArchiveSource(LayoutSource):
    """transport.Source. `reference`: a name, `@DIGEST`, `@N` or "" for the only image."""

    def __init__(self, path: str, reference: str = "", cancellation: Cancellation | None = None) -> None:
        subject = f"oci-archive:{path}"
        super().__init__(ArchiveFiles(path, subject, Turn(cancellation)), reference, cancellation)


class OciArchiveDestination:
    """transport.Destination. The archive is made anew: an earlier one stays until `commit` replaces it."""

    def __init__(self, path: str, reference: str = "", cancellation: Cancellation | None = None) -> None:
        self._subject = f"oci-archive:{path}"
        self._reference = oci.check_name(reference, self._subject)
        self._turn = Turn(cancellation)
        self._lock = threading.Lock()
        self._manifests: dict[Digest, RawManifest] = {}
        self._tags: dict[str, Digest] = {}
        self._committed = False
        self._tar = TarWriter(path, self._subject, self._turn)

    @property
    def abilities(self) -> Abilities:
        return oci.ABILITIES

    def has_blob(self, blob: Descriptor) -> bool:
        self._turn.check()
        return self._tar.has(blob_name(blob.digest))

    def put_blob(self, blob: Descriptor, reader: Reader, meter: Meter) -> None:
        self._turn.check()
        self._tar.put_blob(blob_name(blob.digest), blob, reader)

    def put_manifest(self, manifest: RawManifest, *, tag: str = "") -> None:
        self._turn.check()
        checked(manifest.data, manifest.digest, self._subject)
        with self._lock:
            self._manifests[manifest.digest] = manifest
            if tag:
                self._tags[oci.check_name(tag, self._subject)] = manifest.digest
        self._tar.put_bytes(blob_name(manifest.digest), manifest.data)

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
        with self._lock:
            if self._committed:
                return
            if top not in self._manifests:
                raise InvalidInput(str(top), "is no manifest that was put", hint="put it before the commit")
            for raw in self._manifests.values():
                for blob in oci.wanted_blobs(raw):
                    if not self._tar.has(blob_name(blob.digest)):
                        raise oci.missing(self._subject, blob.digest)
            puts = oci.puts_of(self._manifests, self._tags, top, self._reference)
            self._tar.put_bytes(entries.LAYOUT, entries.LAYOUT_TEXT)
            self._tar.put_bytes(
                entries.INDEX, entries.edited(None, puts, self._subject, replace_unnamed=False)
            )
            self._tar.publish()
            self._committed = True

    def close(self) -> None:
        self._turn.close()
        self._tar.close()
