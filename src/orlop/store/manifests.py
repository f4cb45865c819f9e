"""Which manifest a name led to. One image (one config) may have come by several: packed otherwise, in another
format. Each goes out as it came, so all that a name leads to are kept, with the blobs that they name.

The one that came last is with the image (`images.manifest`); `image_manifests` has the others.
"""

from __future__ import annotations

from orlop.kit.database import Database
from orlop.kit.errors import OrlopError

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    import sqlite3


def of_name(database: Database, name: str) -> tuple[str, str, bytes]:
    """(image id, manifest's digest, manifest) as `name` led to them. Raises ImageUnknown."""
    from orlop.store import images

    image_id, canonical = images.resolve(database, name)
    wanted = name.rpartition("@")[2]
    if canonical:
        for row in database.query("SELECT digest FROM names WHERE name = ?", (canonical,)):
            wanted = row["digest"]
    query = (
        "SELECT digest, manifest AS data FROM images WHERE id = ? AND digest = ?"
        " UNION ALL SELECT digest, data FROM image_manifests WHERE image_id = ? AND digest = ?"
    )
    for row in database.query(query, (image_id, wanted, image_id, wanted)):
        return image_id, str(row["digest"]), bytes(row["data"])
    for row in database.query("SELECT digest, manifest FROM images WHERE id = ?", (image_id,)):
        return image_id, str(row["digest"]), bytes(row["manifest"])  # an id, or an index's digest
    raise images.unknown(name)


def digest_of(rows: sqlite3.Connection, image_id: str, name: str) -> str:
    """The digest that a new name beside `name` leads to; "" where the image is gone."""
    query = (
        "SELECT digest FROM names WHERE name = ? AND image_id = ? AND digest <> ''"
        " UNION ALL SELECT digest FROM images WHERE id = ?"
    )
    found = rows.execute(query, (name, image_id, image_id)).fetchone()
    return str(found[0]) if found else ""


def put_aside(rows: sqlite3.Connection, image_id: str, coming: str) -> None:
    """The image's manifest makes room for the one with the digest `coming`, and stays for its names."""
    query = "SELECT digest, manifest FROM images WHERE id = ? AND digest <> ?"
    for digest, data in rows.execute(query, (image_id, coming)).fetchall():
        rows.execute(
            "INSERT OR IGNORE INTO image_manifests (image_id, digest, data) VALUES (?, ?, ?)",
            (image_id, digest, data),
        )
        rows.execute("UPDATE names SET digest = ? WHERE image_id = ? AND digest = ''", (digest, image_id))


def settle(rows: sqlite3.Connection, image_id: str) -> None:
    """Forget the manifests that no name leads to any more, and what only they named."""
    rows.execute(
        "DELETE FROM image_manifests WHERE image_id = ?"
        " AND (digest = (SELECT digest FROM images WHERE id = ?)"
        " OR digest NOT IN (SELECT digest FROM names WHERE image_id = ?))",
        (image_id, image_id, image_id),
    )
    others = "SELECT data FROM image_manifests WHERE image_id = ?"
    query = f"SELECT manifest FROM images WHERE id = ? UNION ALL {others}"  # noqa: S608
    kept = {
        digest for (data,) in rows.execute(query, (image_id, image_id)) for digest in named(image_id, data)
    }
    there = {row[0] for row in rows.execute("SELECT digest FROM image_blobs WHERE image_id = ?", (image_id,))}
    rows.executemany(
        "DELETE FROM image_blobs WHERE image_id = ? AND digest = ?",
        [(image_id, digest) for digest in there - kept],
    )


def named(image_id: str, data: bytes) -> list[str]:
    """The digests of config and layers. Whoever puts an image has parsed its manifest; none is no error."""
    from orlop.image.manifest import Manifest, parse

    try:
        manifest = parse(data)
    except OrlopError:
        return [image_id]
    if not isinstance(manifest, Manifest):
        return [image_id]
    return [manifest.config.digest, *(layer.digest for layer in manifest.layers)]
