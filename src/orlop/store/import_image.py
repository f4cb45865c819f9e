"""An archive of a root file system becomes an image of one layer.

The archive is read twice: once for its digests, once by the way that every layer takes into the store
(`ensure_layer`), which checks what it reads against them. So a hostile archive meets what it meets in a
pull, and an archive that was imported before is not unpacked again.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import queue
import stat
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from orlop.image.decompress import decompressed
from orlop.image.digest import Digest
from orlop.image.manifest import OCI_MANIFEST
from orlop.image.platform import Platform
from orlop.image.sink import ImageRecord, LayerRequest
from orlop.kit import limits
from orlop.kit.errors import Conflict, Corrupt, LimitExceeded
from orlop.kit.value import dataclass
from orlop.store.blobs.write import BlobWriter
from orlop.store.errors import explained
from orlop.store.workspace import work_folder

if TYPE_CHECKING:
    from orlop.image.sink import Reader
    from orlop.kit.progress import Meter
    from orlop.store.store import Store

_PIECE = 1 * limits.MIB
_QUEUED = 4
_CONFIG = "application/vnd.oci.image.config.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar"
_MAGIC = ((b"\x1f\x8b", "gzip"), (b"\x28\xb5\x2f\xfd", "zstd"))
_HEAD = 6  # bytes that say how an archive is packed


@dataclass(frozen=True)
class Import:
    """What the image is beside its files. `run` is the `config` object of an OCI image config.

    `names` are canonical references. `created` is RFC 3339.
    """

    names: tuple[str, ...]
    created: str
    platform: Platform
    run: Mapping[str, Any]
    created_by: str = ""
    comment: str = ""


@dataclass(frozen=True)
class Imported:
    """`id` is the image's, `digest` its manifest's; `size` is the archive's, as it came."""

    id: Digest
    digest: Digest
    size: int


@dataclass(frozen=True)
class _Archive:
    compression: str
    blob: Digest
    size: int
    diff_id: Digest


def import_image(
    store: Store, file: int, wanted: Import, *, meter: Meter, tick: Callable[[], None]
) -> Imported:
    """The archive (tar, plain or packed) that the descriptor `file` gives from where it is.

    A regular file is read where it lies, anything else is spooled into the store first; what no layer is
    packed with (bzip2, xz) is unpacked on the way there. Raises Corrupt
    (no archive, or a hostile one), LimitExceeded, Conflict (the file changes meanwhile), Unavailable.
    """
    with store.lease(), contextlib.ExitStack() as stack:
        meter.note("reading")
        regular = stat.S_ISREG(os.fstat(file).st_mode)
        start = os.lseek(file, 0, os.SEEK_CUR) if regular else 0
        if regular and not _packing(os.pread(file, _HEAD, start)):
            archive = explained(_read)(_pieces(file), store, meter, tick)
        else:
            work = stack.enter_context(work_folder(store.layout.tmp))
            with explained(BlobWriter)(f"{work}/archive") as spool:
                pieces = _unpacked(_pieces(file), store, tick)
                archive = explained(_read)(_spooled(pieces, spool), store, meter, tick)
            file, start = os.open(f"{work}/archive", os.O_RDONLY | os.O_CLOEXEC), 0
            stack.callback(os.close, file)
        meter.note("unpacking")
        _ensure(store, file, start, archive, meter, tick)
        record = _record(archive, wanted)
        store.put_image(record)
    return Imported(record.id, record.digest, archive.size)


def _ensure(
    store: Store, file: int, start: int, archive: _Archive, meter: Meter, tick: Callable[[], None]
) -> None:
    request = LayerRequest(
        chain_id=archive.diff_id,
        parent=None,
        diff_id=archive.diff_id,
        compression=archive.compression,
        blob=archive.blob,
        size=archive.size,
    )

    @contextlib.contextmanager
    def open_blob() -> Iterator[Reader]:
        os.lseek(file, start, os.SEEK_SET)
        yield _Again(file, archive)

    store.ensure_layer(request, open_blob, meter=meter, tick=tick)


class _Again:
    """The archive once more: what `ensure_layer` reads must be what was read before."""

    def __init__(self, file: int, archive: _Archive) -> None:
        self._file = file
        self._archive = archive
        self._hash = hashlib.sha256()

    def readinto(self, buffer: bytearray | memoryview, /) -> int:
        view = memoryview(buffer)
        count = os.readv(self._file, [view])
        self._hash.update(view[:count])
        if not count and f"sha256:{self._hash.hexdigest()}" != self._archive.blob:
            raise Conflict("the archive", "changes while it is imported", hint="wait until it is written")
        return count


def _pieces(file: int) -> Iterator[bytes]:
    while piece := os.read(file, _PIECE):
        yield piece


def _packing(head: bytes) -> str:
    """ "bzip2" or "xz"; "" for what a layer may be."""
    from orlop.image.transport.layout.unpacked import WHOLE, compression_of

    kind = compression_of(head)
    return kind if kind in WHOLE else ""


def _unpacked(pieces: Iterator[bytes], store: Store, tick: Callable[[], None]) -> Iterator[bytes]:
    """As they are, unless they are packed as no layer is: then unpacked, within the bounds of a layer."""
    head = b""
    while len(head) < _HEAD and (more := next(pieces, b"")):
        head += more
    raw = itertools.chain([head], pieces) if head else iter(())
    if not (kind := _packing(head)):
        yield from raw
        return
    from orlop.image.transport.layout.unpacked import whole

    packed = total = 0

    def counted() -> Iterator[bytes]:
        nonlocal packed
        for piece in raw:
            tick()
            packed += len(piece)
            yield piece

    for piece in whole(counted(), kind, "the archive"):
        total += len(piece)
        _check_bounds(store, packed, total)
        yield piece


def _spooled(pieces: Iterator[bytes], spool: BlobWriter) -> Iterator[bytes]:
    for piece in pieces:
        spool.write(piece)
        yield piece


def _read(pieces: Iterator[bytes], store: Store, meter: Meter, tick: Callable[[], None]) -> _Archive:
    """Digests and size; the unpacked bytes are bounded as any layer's."""
    first = next(pieces, b"")
    if not first:
        raise Corrupt("the archive", "is empty", hint="see whether what should have written it failed")
    compression = _compression(first)
    packed, unpacked = hashlib.sha256(), hashlib.sha256()
    size = total = 0

    def counted() -> Iterator[bytes]:
        nonlocal size
        piece = first
        while piece:
            tick()
            size += len(piece)
            if compression:
                packed.update(piece)
            meter.advance(len(piece))
            yield piece
            piece = next(pieces, b"")

    with _Beside(unpacked.update) as hashing:
        for piece in decompressed(counted(), "the archive") if compression else counted():
            total += len(piece)
            _check_bounds(store, size, total)
            hashing.put(piece)
    diff_id = Digest(f"sha256:{unpacked.hexdigest()}")
    blob = Digest(f"sha256:{packed.hexdigest()}") if compression else diff_id
    return _Archive(compression, blob, size, diff_id)


class _Beside:
    """A consumer of pieces in a thread of its own: hashing lets the interpreter go."""

    def __init__(self, take: Callable[[bytes], object]) -> None:
        self._take = take
        self._queue: queue.Queue[bytes] = queue.Queue(_QUEUED)
        self._thread = threading.Thread(target=self._run, name="import-digest", daemon=True)

    def put(self, piece: bytes) -> None:
        self._queue.put(piece)

    def __enter__(self) -> _Beside:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._queue.put(b"")
        self._thread.join()

    def _run(self) -> None:
        while piece := self._queue.get():
            self._take(piece)


def _compression(head: bytes) -> str:
    return next((kind for magic, kind in _MAGIC if head.startswith(magic)), "")


def _check_bounds(store: Store, packed: int, total: int) -> None:
    settings = store.settings
    if total > settings.layer_unpacked_limit + settings.layer_entries_limit * 1024 or (
        total > limits.RATIO_FLOOR and total > packed * settings.layer_ratio_limit
    ):
        raise LimitExceeded(
            "the archive",
            f"unpacks to more than {total} bytes",
            hint="raise [store] layer_unpacked_limit or layer_ratio_limit if you trust it",
        )


def _record(archive: _Archive, wanted: Import) -> ImageRecord:
    config = _config(archive, wanted)
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": {"mediaType": _CONFIG, "digest": Digest.of(config), "size": len(config)},
            "layers": [
                {
                    "mediaType": f"{_LAYER}+{archive.compression}" if archive.compression else _LAYER,
                    "digest": archive.blob,
                    "size": archive.size,
                }
            ],
        },
        separators=(",", ":"),
    ).encode()
    digest = Digest.of(manifest)
    return ImageRecord(
        id=Digest.of(config),
        digest=digest,
        manifest=manifest,
        config=config,
        layers=(archive.diff_id,),
        names=wanted.names,
        digests=(digest,),
    )


def _config(archive: _Archive, wanted: Import) -> bytes:
    step = {"created": wanted.created}
    if wanted.created_by:
        step["created_by"] = wanted.created_by
    if wanted.comment:
        step["comment"] = wanted.comment
    document: dict[str, Any] = {
        "created": wanted.created,
        "architecture": wanted.platform.architecture,
        "os": wanted.platform.os,
        "config": dict(wanted.run),
        "rootfs": {"type": "layers", "diff_ids": [archive.diff_id]},
        "history": [step],
    }
    if wanted.platform.variant:
        document["variant"] = wanted.platform.variant
    data = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    if len(data) > limits.IMAGE_CONFIG_SIZE:
        raise LimitExceeded(
            "the image's config",
            f"is longer than {limits.IMAGE_CONFIG_SIZE} bytes",
            hint="give shorter labels and variables",
        )
    return data
