"""Every blob read against its digest."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from orlop.image.digest import Digest
from orlop.kit import limits
from orlop.kit.database import Database
from orlop.kit.errors import NotFound, OrlopError
from orlop.store.blobs.open import opened
from orlop.store.blobs.unused import remove_file
from orlop.store.layout import Layout
from orlop.store.model import Problem

_PIECE = 1 * limits.MIB
_NAMED = 5  # images and repositories that a problem names


def problems(layout: Layout, database: Database, *, repair: bool) -> Iterator[Problem]:
    """What is wrong with blobs, and whose they are.

    A repair (the caller holds the lease alone) forgets a damaged one: the next pull or push brings it again.
    """
    for row in database.query("SELECT digest, added FROM blobs ORDER BY added, digest"):
        digest = row["digest"]
        cause = _damage(layout, database, digest)
        same = "SELECT 1 FROM blobs WHERE digest = ? AND added = ?"
        if not cause or not database.query(same, (digest, row["added"])):
            continue  # whole, or removed by another process while we looked
        cause += _owners(database, digest)
        if repair:
            _forget(layout, database, digest)
            cause += "; removed: pull or push it again"
        yield Problem(f"blob {digest}", cause, repaired=repair)
    absent = "SELECT repository, digest FROM repository_blobs WHERE digest NOT IN (SELECT digest FROM blobs)"
    for row in database.query(absent):
        if repair:
            _forget(layout, database, row["digest"])
        cause = f"its blob {row['digest']} is absent: push it again"
        yield Problem(f"repository {row['repository']}", cause, repaired=repair)


def _damage(layout: Layout, database: Database, digest: str) -> str:
    hasher = hashlib.new(Digest(digest).algorithm)
    buffer = bytearray(_PIECE)
    view = memoryview(buffer)
    total = 0
    try:
        with opened(layout, database, digest) as blob:
            while count := blob.readinto(buffer):
                hasher.update(view[:count])
                total += count
            if total != blob.size:
                return f"has {total} bytes, not {blob.size}"
    except NotFound:
        return "its file is absent"
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    except OrlopError as error:
        return error.cause
    return "" if hasher.hexdigest() == Digest(digest).encoded else "has another content"


def _owners(database: Database, digest: str) -> str:
    images = [
        row[0]
        for row in database.query(
            "SELECT COALESCE((SELECT MIN(name) FROM names n WHERE n.image_id = b.image_id), b.image_id)"
            " FROM image_blobs b WHERE b.digest = ? ORDER BY 1",
            (digest,),
        )
    ]
    query = "SELECT repository FROM repository_blobs WHERE digest = ? ORDER BY 1"
    repositories = [row[0] for row in database.query(query, (digest,))]
    said = ""
    for kind, names in (("image", images), ("repository", repositories)):
        if names:
            more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
            said += f"; of {kind} {', '.join(names[:_NAMED])}{more}"
    return said


def _forget(layout: Layout, database: Database, digest: str) -> None:
    with database.transaction() as rows:
        rows.execute("DELETE FROM blobs WHERE digest = ?", (digest,))
        rows.execute("DELETE FROM repository_blobs WHERE digest = ?", (digest,))
    remove_file(layout.blob(digest))
