"""What is recorded beside an image: the blobs that its manifest names, the documents that came with it."""

from __future__ import annotations

from orlop.image.digest import Digest
from orlop.image.signature.model import KEPT
from orlop.image.sink import Document
from orlop.kit.database import Database
from orlop.store.errors import ImageUnknown
from orlop.store.manifests import named

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    import sqlite3

    from orlop.image.sink import ImageRecord


def record(rows: sqlite3.Connection, image: ImageRecord) -> None:
    """Both as `image` has them now; what a policy asks for stays, and blobs do until `manifests.settle`.

    An image that is pulled by another name too must still be good by the first one (`image.policy.stored`).
    """
    rows.executemany(
        "INSERT OR IGNORE INTO image_blobs (image_id, digest) VALUES (?, ?)",
        [(image.id, digest) for digest in named(image.id, image.manifest)],
    )
    marks = ", ".join("?" * len(KEPT))
    rows.execute(
        f"DELETE FROM image_documents WHERE image_id = ? AND kind NOT IN ({marks})",  # noqa: S608
        (image.id, *KEPT),
    )
    rows.executemany(
        "INSERT OR IGNORE INTO image_documents (image_id, digest, kind, media_type, data)"
        " VALUES (?, ?, ?, ?, ?)",
        [(image.id, found.digest, found.kind, found.media_type, found.data) for found in image.documents],
    )


def documents(database: Database, image_id: str) -> tuple[Document, ...]:
    """See `Store.documents`."""
    if not database.query("SELECT 1 FROM images WHERE id = ?", (image_id,)):
        raise ImageUnknown(image_id, "no such image in the store", hint="see: orlop image list")
    query = "SELECT kind, media_type, digest, data FROM image_documents WHERE image_id = ? ORDER BY rowid"
    return tuple(
        Document(row["kind"], row["media_type"], Digest(row["digest"]), bytes(row["data"]))
        for row in database.query(query, (image_id,))
    )
