"""Source over any Files that are laid out as an OCI image layout."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from orlop.image import manifest
from orlop.image.digest import Digest
from orlop.image.manifest import Descriptor, Index
from orlop.image.sink import Reader
from orlop.image.transport.layout import entries
from orlop.image.transport.layout.files import Files, told
from orlop.image.transport.layout.reading import Turn, VerifiedReader, checked
from orlop.image.transport.layout.staging import blob_name
from orlop.image.transport.source import RawManifest
from orlop.kit import limits
from orlop.kit.errors import Corrupt, NotFound
from orlop.kit.progress import Meter
from orlop.kit.tasks import Cancellation


class LayoutSource:
    """transport.Source. `reference`: as entries.choose has it. Owns `files`."""

    def __init__(self, files: Files, reference: str, cancellation: Cancellation | None = None) -> None:
        self._files = files
        self._reference = reference
        self._turn = Turn(cancellation)
        try:
            self._check_layout()
        except BaseException:
            files.close()
            raise

    def manifest(self, digest: Digest | None = None) -> RawManifest:
        if digest is None:
            return self._raw(self._chosen())
        data = self._document(digest)
        parsed = manifest.parse(data, subject=self._subject)
        return RawManifest(data, parsed.media_type, digest)

    def current_digest(self) -> Digest | None:
        return self._chosen().digest

    @contextmanager
    def open_blob(self, blob: Descriptor, meter: Meter) -> Iterator[Reader]:
        self._turn.check()
        with told(self._subject), self._files.open(blob_name(blob.digest)) as region:
            yield VerifiedReader(blob, region, self._turn, meter, self._subject)

    def tagged(self, tag: str) -> RawManifest | None:
        for entry in self.index().manifests:
            if entry.annotations.get(entries.NAME) == tag:
                return self._raw(entry)
        return None

    def tags(self) -> tuple[str, ...]:
        """The names in index.json, in their order, each once."""
        names = (entry.annotations.get(entries.NAME) for entry in self.index().manifests)
        return tuple(dict.fromkeys(name for name in names if name))

    def referrers(self, digest: Digest) -> tuple[Descriptor, ...]:
        found: dict[Digest, Descriptor] = {}
        seen = {digest}
        for entry in entries.walk(self.index(), self._document, self._subject):
            if entry.digest in seen:
                continue
            seen.add(entry.digest)
            try:
                data = self._document(entry.digest)
            except NotFound:
                continue
            parsed = manifest.parse(data, entry.media_type, self._subject)
            if parsed.subject is not None and parsed.subject.digest == digest:
                found[entry.digest] = Descriptor(
                    parsed.media_type,
                    entry.digest,
                    len(data),
                    dict(parsed.annotations),
                    entry.platform,
                    entries.artifact_type(parsed),
                )
        return tuple(found.values())

    def signatures(self, digest: Digest) -> tuple[bytes, ...]:
        return ()  # a layout has no place for simple signing

    def close(self) -> None:
        self._turn.close()
        self._files.close()

    def index(self) -> Index:
        """index.json as it is now. Raises Corrupt, LimitExceeded."""
        self._turn.check()
        return entries.read_index(self._read(entries.INDEX, limits.MANIFEST_SIZE), self._subject)

    @property
    def _subject(self) -> str:
        return self._files.subject

    def _check_layout(self) -> None:
        try:
            entries.read_layout(self._read(entries.LAYOUT, limits.CONFIG_FILE_SIZE), self._subject)
        except NotFound:
            raise NotFound(
                self._subject, f"is no OCI image layout: it has no {entries.LAYOUT}", hint="see the path"
            ) from None

    def _chosen(self) -> Descriptor:
        return entries.choose(self.index(), self._reference, self._document, self._subject)

    def _raw(self, entry: Descriptor) -> RawManifest:
        data = self._document(entry.digest)
        if len(data) != entry.size:
            raise Corrupt(
                f"{self._subject}: {entry.digest}",
                f"has {len(data)} bytes, index.json says {entry.size}",
                hint="the layout is broken where it was made: make it anew",
            )
        parsed = manifest.parse(data, entry.media_type, self._subject)
        return RawManifest(data, entry.media_type or parsed.media_type, entry.digest)

    def _document(self, digest: Digest) -> bytes:
        """A manifest's bytes, checked."""
        self._turn.check()
        return checked(self._read(blob_name(digest), limits.MANIFEST_SIZE), digest, self._subject)

    def _read(self, name: str, limit: int) -> bytes:
        with told(self._subject), self._files.open(name) as region:
            return region.read_all(limit, f"{self._subject}: {name}")
