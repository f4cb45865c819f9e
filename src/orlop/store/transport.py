"""`store:NAME`: an image of the store as a Source, so that what was pulled can be pushed as it was.

Manifest and config are the bytes that were pulled; layers are the blobs that were kept, each verified while
it is read, so that nothing damaged leaves. The image is protected from removal until `close`.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from orlop.image.digest import Digest
from orlop.image.manifest import Descriptor, Manifest, parse
from orlop.image.sink import Document, Reader
from orlop.image.transport.source import BadBytes, RawManifest
from orlop.kit.errors import Corrupt, NotFound, OrlopError
from orlop.kit.progress import Meter
from orlop.kit.tasks import Cancellation
from orlop.store import attachments
from orlop.store.store import Store

if TYPE_CHECKING:
    from orlop.image.transport.locate import Location
    from orlop.image.transport.open import OpenOptions, Transports

INDEX = "index"  # the kind of document that an index is


class StoreSource:
    """transport.Source. `name` is whatever `Store.image` takes. Raises NotFound."""

    def __init__(self, store: Store, name: str, cancellation: Cancellation | None = None) -> None:
        self._store = store
        self._cancellation = cancellation or Cancellation()
        self._closed = Cancellation()
        self._made: dict[Digest, RawManifest] = {}
        self._made_blobs: dict[str, bytes] = {}
        self._held = contextlib.ExitStack()
        self._held.enter_context(store.lease())
        try:
            image_id, digest, data = store.manifest_of(name)
            store.use(image_id)
            self._image = store.image(image_id)
            self._manifest = self._raw(data, Digest(digest))
            self._documents = store.documents(self._image.id)
        except BaseException:
            self._held.close()
            raise

    def manifest(self, digest: Digest | None = None) -> RawManifest:
        """The image's own, or one of the documents beside it (an index that led to it, an attachment)."""
        if digest is None or digest == self._manifest.digest:
            return self._manifest
        if digest in self._made:
            return self._made[digest]
        for document in self._documents:
            if document.digest == digest:
                return RawManifest(document.data, document.media_type, digest)
        raise self._absent(f"manifest {digest}", "pull the image again, or name the manifest's registry")

    def current_digest(self) -> Digest | None:
        return self._manifest.digest

    @contextlib.contextmanager
    def open_blob(self, blob: Descriptor, meter: Meter) -> Iterator[Reader]:
        """Raises NotFound where the layer is stored only unpacked."""
        if blob.digest == self._image.id:
            yield _Bytes(self._store.config_bytes(self._image.id), blob, meter)
            return
        if (made := self._made_blobs.get(blob.digest)) is not None:
            yield _Bytes(made, blob, meter)
            return
        for document in self._documents:
            if document.digest == blob.digest:
                yield _Bytes(document.data, blob, meter)
                return
        with self._opened(blob.digest) as opened:
            yield _Verified(opened, blob, meter, self._check)

    @contextlib.contextmanager
    def _opened(self, digest: Digest) -> Iterator[Reader]:
        with contextlib.ExitStack() as stack:
            opened: Reader
            try:
                opened = stack.enter_context(self._store.open_blob(digest))
            except NotFound:
                try:
                    opened = stack.enter_context(self._store.open_archive(digest))
                except NotFound:
                    hint = "pull the image again with [store] keep_blobs = true, then push it"
                    raise self._absent(f"layer {digest} as its registry had it", hint) from None
            yield opened

    def tagged(self, tag: str) -> RawManifest | None:
        """cosign's attachments to the image's manifest, and to the indexes that led to it."""
        for digest in (self._manifest.digest, *(document.digest for document in self._documents)):
            if tag == attachments.tag_of(digest):
                made = attachments.attachment(self._documents, digest)
                if made is None:
                    return None
                self._made[made[0].digest] = made[0]
                self._made_blobs.update(made[1])
                return made[0]
        return None

    def referrers(self, digest: Digest) -> tuple[Descriptor, ...]:
        """Documents that are manifests with this subject."""
        found = []
        for document in self._documents:
            about = _subject(document)
            if about is not None and about[0] == digest:
                size = len(document.data)
                found.append(Descriptor(document.media_type, document.digest, size, artifact_type=about[1]))
        return tuple(found)

    def signatures(self, digest: Digest) -> tuple[bytes, ...]:
        return ()

    def close(self) -> None:
        self._closed.cancel()
        self._held.close()

    def _check(self) -> None:
        self._cancellation.check()
        self._closed.check()

    def _raw(self, data: bytes, wanted: Digest) -> RawManifest:
        found = Digest.of(data, wanted.algorithm)
        if found != wanted:
            raise Corrupt(
                f"image {self._image.id}",
                f"its manifest has the digest {found} in the store, not {wanted}",
                hint="orlop store check --repair, then pull the image again",
            )
        return RawManifest(data, parse(data, subject=f"image {self._image.id}").media_type, found)

    def _absent(self, what: str, hint: str) -> NotFound:
        name = self._image.names[0] if self._image.names else self._image.id
        return NotFound(f"store:{name}", f"{what} is not in the store", hint=hint)


def transports(store: Store) -> Transports:
    """Every transport that can be read, this store (`store:NAME`) among them: for `copy_by_name`."""
    from orlop.image.transport.locate import STORE
    from orlop.image.transport.open import Transports

    def stored(location: Location, opening: OpenOptions) -> StoreSource:
        return StoreSource(store, location.rest, opening.cancellation)

    return Transports({STORE: stored})


class _Verified:
    """A blob as a Reader: its end is handed out once size and digest are right."""

    def __init__(self, inner: Reader, blob: Descriptor, meter: Meter, tick: Callable[[], None]) -> None:
        self._inner = inner
        self._blob = blob
        self._meter = meter
        self._tick = tick
        self._hash = hashlib.new(blob.digest.algorithm)
        self._count = 0

    def readinto(self, buffer: bytearray | memoryview, /) -> int:
        """Raises BadBytes, Cancelled."""
        self._tick()
        view = memoryview(buffer)
        count = self._inner.readinto(view)
        self._hash.update(view[:count])
        self._count += count
        self._meter.advance(count)
        wrong = self._count > self._blob.size if count else self._count != self._blob.size
        if wrong or (not count and self._hash.hexdigest() != self._blob.digest.encoded):
            raise BadBytes(
                f"blob {self._blob.digest}",
                "is damaged in the store",
                hint="orlop store check --repair, then pull the image again",
            )
        return count


class _Bytes:
    """The same for what lies in the database."""

    def __init__(self, data: bytes, blob: Descriptor, meter: Meter) -> None:
        if len(data) != blob.size or Digest.of(data, blob.digest.algorithm) != blob.digest:
            raise BadBytes(
                f"blob {blob.digest}",
                "is damaged in the store",
                hint="orlop store check --repair, then pull the image again",
            )
        self._rest = memoryview(data)
        self._meter = meter

    def readinto(self, buffer: bytearray | memoryview, /) -> int:
        view = memoryview(buffer)
        count = min(len(view), len(self._rest))
        view[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        self._meter.advance(count)
        return count


def _subject(document: Document) -> tuple[Digest, str] | None:
    """The digest that a document refers to, and what kind of artifact it is; None where it refers to none."""
    if document.kind == INDEX:
        return None
    try:
        manifest = parse(document.data, document.media_type)
    except OrlopError:
        return None
    if not isinstance(manifest, Manifest) or manifest.subject is None:
        return None
    return manifest.subject.digest, manifest.artifact_type or manifest.config.media_type
