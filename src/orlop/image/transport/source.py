"""One pull's way to an image: the port that every transport implements.

All methods block and are safe to call from many threads at once. They raise OrlopErrors only: NotFound,
Denied, Unavailable, TimedOut, Corrupt, LimitExceeded, Cancelled.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from orlop.image.digest import Digest
from orlop.image.manifest import Descriptor
from orlop.image.sink import Reader
from orlop.kit.errors import Corrupt
from orlop.kit.progress import Meter


@dataclass(frozen=True)
class RawManifest:
    """A manifest's bytes, whose digest was computed from them; `media_type` is the server's word for it."""

    data: bytes
    media_type: str
    digest: Digest


class BadBytes(Corrupt):
    """A blob's bytes were wrong; with `elsewhere` another place is left to fetch it from: ask again."""

    elsewhere = False


class Source(Protocol):
    """Contract: bytes are verified before they are handed out (manifests) or before their end is (blobs)."""

    def manifest(self, digest: Digest | None = None) -> RawManifest:
        """The manifest that the image's reference names, or the one with `digest` in the same repository."""

    def current_digest(self) -> Digest | None:
        """What the reference leads to now, without fetching it; None where the source cannot tell.

        Unverified: good only for finding out that nothing has changed.
        """

    def open_blob(self, blob: Descriptor, meter: Meter) -> AbstractContextManager[Reader]: ...

    def tagged(self, tag: str) -> RawManifest | None:
        """Another manifest of the same repository, by its tag (cosign's attachments); None where absent."""

    def referrers(self, digest: Digest) -> tuple[Descriptor, ...]:
        """The manifests whose subject is `digest` (distribution-spec 1.1, "Listing Referrers").

        Each with its artifact type. Empty where there are none, or the transport has no such thing.
        """

    def signatures(self, digest: Digest) -> tuple[bytes, ...]:
        """Simple-signing signatures (OpenPGP messages) of the manifest `digest`, unverified."""

    def close(self) -> None:
        """Ends every transfer at once, also those of other threads. Idempotent."""
