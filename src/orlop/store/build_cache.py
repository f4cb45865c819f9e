"""Which image a step of a build led to: table build_cache.

An image that is there for the cache alone has no name. `prune` keeps it while an entry that leads to it was
used within limits.BUILD_CACHE_AGE, and takes all of them with --all; removing the image removes its entries.
"""

from __future__ import annotations

import time

from orlop.kit import limits
from orlop.kit.database import Database
from orlop.store import images, leases


def cached(database: Database, key: str) -> str | None:
    """The ID of the image that the step with this key led to, whole; its entry counts as used now."""
    rows = database.query("SELECT image_id, used FROM build_cache WHERE key = ?", (key,))
    if not rows or not images.has_image(database, rows[0]["image_id"]):
        return None
    if time.time() - rows[0]["used"] > limits.BUILD_CACHE_TOUCH:
        with database.transaction(durable=False) as write:
            write.execute("UPDATE build_cache SET used = ? WHERE key = ?", (time.time(), key))
    return str(rows[0]["image_id"]) if leases.use(database, rows[0]["image_id"]) else None


def remember(database: Database, keys: list[str], image_id: str) -> None:
    """The steps with these keys lead to the image."""
    with database.transaction() as rows:
        rows.executemany(
            "INSERT INTO build_cache (key, image_id, used) VALUES (?, ?, ?)"
            " ON CONFLICT (key) DO UPDATE SET image_id = excluded.image_id, used = excluded.used",
            [(key, image_id, time.time()) for key in keys],
        )


def images_of_steps(database: Database) -> frozenset[str]:
    """The IDs of the images that entries lead to."""
    return frozenset(row[0] for row in database.query("SELECT DISTINCT image_id FROM build_cache"))
