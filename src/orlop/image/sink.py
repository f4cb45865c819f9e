"""Where a pulled image lands: the port between `image` and `store`.

All methods block and are safe to call from many threads and many processes at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from orlop.image.digest import Digest
from orlop.kit.progress import Meter
from orlop.kit.value import dataclass


class Reader(Protocol):
    """A stream of bytes. `readinto` fills a part of the buffer and returns its length, 0 at the end.

    A blob's reader has verified digest and size when it returns 0; it raises Corrupt instead where they
    are wrong, and Cancelled once its pull was cancelled.
    """

    def readinto(self, buffer: bytearray | memoryview, /) -> int: ...


@dataclass(frozen=True)
class LayerRequest:
    """A layer that an image needs. `compression` is "gzip", "zstd" or "" (none); `size` as compressed."""

    chain_id: Digest
    parent: Digest | None
    diff_id: Digest
    compression: str
    blob: Digest
    size: int


@dataclass(frozen=True)
class Document:
    """What belongs to an image beside its manifest: an index that led to it, or what signs one of the two.

    `kind` is "index" or a word of `image.signature`; the store keeps `data` as it came and gives it back.
    """

    kind: str
    media_type: str
    digest: Digest
    data: bytes


@dataclass(frozen=True)
class ImageRecord:
    """An image as it is stored: `id` is its config's digest, `layers` chain IDs, bottom first.

    `manifest` and `config` are the raw bytes as the registry gave them; `digest` is the manifest's (the one
    that the reference led to: an index's digest is among `digests` too). `names` are canonical references.
    """

    id: Digest
    digest: Digest
    manifest: bytes
    config: bytes
    layers: tuple[Digest, ...]
    names: tuple[str, ...]
    digests: tuple[Digest, ...] = ()
    documents: tuple[Document, ...] = ()


class Sink(Protocol):
    """Contract:

    - Nothing is visible before it is whole, verified and durable; a kill -9 leaves only what the next start
      removes.
    - Everything asked twice is harmless.
    - What is ensured inside a `lease` is not pruned before the lease ends.
    """

    def lease(self) -> AbstractContextManager[None]:
        """Protect what is asked for meanwhile, though no image has it yet. Waits for nobody.

        May be entered in one thread and left in another.
        """

    def pulling(self, image_id: Digest, tick: Callable[[], None]) -> AbstractContextManager[None]:
        """One pull of this image at a time, of all threads and processes: the others wait, calling `tick`,
        and find it there. Inside a lease. May be entered in one thread and left in another.
        """

    def has_image(self, image_id: Digest) -> bool: ...

    def wanted(self, blobs: Sequence[Digest]) -> bool:
        """Whether the sink keeps layers as registries have them and lacks one of these.

        Then `ensure_layer` is asked again for all of an image that `has_image`: it fetches what is missing.
        """

    def config_bytes(self, image_id: Digest, /) -> bytes:
        """As the registry gave it. Raises NotFound."""

    def named(self, name: str) -> tuple[Digest, Digest] | None:
        """(image ID, manifest digest) that a canonical reference leads to; None where it leads nowhere."""

    def ensure_layer(
        self,
        layer: LayerRequest,
        open_blob: Callable[[], AbstractContextManager[Reader]],
        *,
        meter: Meter,
        tick: Callable[[], None],
    ) -> bool:
        """The layer is there afterwards; returns whether it had to be fetched.

        `open_blob` is called at most once, and only by whoever of all threads and processes is first; the
        others wait for it, calling `tick` (which raises to give up) meanwhile. Its reader advances `meter` by
        the packed bytes, the sink only notes on it; the reader's errors pass unchanged. The store
        decompresses within bounds, verifies `diff_id` and refuses a hostile archive whole (Corrupt,
        LimitExceeded).
        """

    def put_image(self, image: ImageRecord) -> None:
        """Record the image and point its names at it. Raises NotFound where one of its layers is absent."""
