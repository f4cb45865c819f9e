"""Garbage collection: what clients abandoned, and what nothing leads to."""

from __future__ import annotations

from orlop.kit import limits
from orlop.registry.upload_files import Uploads
from orlop.store.repositories import Unlinked
from orlop.store.store import Store


def collect(
    store: Store, *, grace: float = limits.REGISTRY_GRACE, untagged: bool = False, timeout: float
) -> Unlinked:
    """Remove uploads and blobs that nobody touched for `grace` seconds, then the files that nobody has.

    Pushes may go on meanwhile. With `untagged` see `Repositories.unlink`. Raises TimedOut
    where others remove for more than `timeout` seconds.
    """
    repositories = store.repositories
    uploads = Uploads(store.layout, repositories).collect(min(grace, limits.UPLOAD_AGE))
    gone = repositories.unlink(grace=grace, untagged=untagged)
    freed = repositories.free(grace=grace, timeout=timeout)
    return Unlinked(blobs=gone.blobs, manifests=gone.manifests, uploads=uploads, freed=freed)
