"""Where a copied image goes: the port that every transport which can be written to implements.

All methods block and are safe to call from many threads at once. They raise OrlopErrors only: Denied,
Unavailable, TimedOut, Conflict, Unsupported, InvalidInput, Cancelled, and what a `reader` raises.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from orlop.image.digest import Digest
from orlop.image.manifest import Descriptor
from orlop.image.sink import Reader
from orlop.image.transport.source import RawManifest
from orlop.kit.errors import Unavailable
from orlop.kit.progress import Meter


@dataclass(frozen=True)
class Abilities:
    """What a destination can hold; the copy engine converts to it or says that it cannot.

    `media_types`: of manifests and indexes; empty means any. `compressions`: of layers, "" is none.
    `attachments`: what is found by cosign's tags or as a referrer; without, but with `signatures`, cosign's
    signatures come by `put_signatures`.
    """

    media_types: tuple[str, ...] = ()
    compressions: tuple[str, ...] = ("gzip", "zstd", "")
    indexes: bool = True
    signatures: bool = True
    attachments: bool = True


class TryAgain(Unavailable):
    """A transfer broke on its way, through no fault of the bytes: `put_blob` with a new reader may do."""


@runtime_checkable
class Streaming(Protocol):
    """A Destination that takes a blob before its digest is known."""

    def put_stream(self, reader: Reader, meter: Meter, describe: Callable[[], tuple[Digest, int]]) -> None:
        """`describe` tells digest and size once `reader` was read to its end. Raises as `put_blob`."""


class Destination(Protocol):
    """Contract:

    - Order: blobs, then the manifests that name them, an index after its children, then `commit`.
    - Nothing is visible under the reference's name before `commit`; a kill leaves the earlier image.
    - Everything asked twice is harmless.
    """

    @property
    def abilities(self) -> Abilities: ...

    def has_blob(self, blob: Descriptor) -> bool:
        """Whether it is there now, perhaps since it could be taken over (a registry's mount) for nothing."""

    def put_blob(self, blob: Descriptor, reader: Reader, meter: Meter) -> None:
        """`reader` is read to its end; what arrives must have the digest and size of `blob` (Corrupt).

        Raises TryAgain where the way to the destination failed in the middle.
        """

    def put_manifest(self, manifest: RawManifest, *, tag: str = "") -> None:
        """Store it under its digest, with `tag` also under that tag of the same repository (attachments)."""

    def put_signatures(self, digest: Digest, signatures: tuple[bytes, ...]) -> None:
        """Simple-signing signatures of the manifest `digest`, beside those that are there."""

    def commit(self, top: Digest) -> None:
        """The reference leads to the manifest `top` from now on; all of it is durable."""

    def close(self) -> None:
        """Ends every transfer; what was not committed leaves nothing behind. Idempotent."""
