"""Every blob read against its digest."""

from __future__ import annotations

import hashlib
import os
import time
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
_IMAGES = "SELECT image_id FROM image_blobs WHERE digest = ?"
_REPOSITORIES = "SELECT repository FROM repository_blobs WHERE digest = ?"


def problems(layout: Layout, database: Database, *, repair: bool) -> Iterator[Problem]:
    """What is wrong with blobs, and whose they are.

    A repair forgets a damaged one: the next pull or push brings it again.
    """
    # The tar within a layer's file was read with the layer, where that is still one.
    own = "layer = '' OR layer NOT IN (SELECT name FROM diffs)"
    for row in database.query(f"SELECT digest, added FROM blobs WHERE {own} ORDER BY added, digest"):  # noqa: S608
        digest = row["digest"]
        cause = _damage(layout, database, digest)
        if not cause and row["added"] >= 0:
            continue
        with database.transaction() as rows:  # the next pull or push brings a whole one
            same = "UPDATE blobs SET added = ? WHERE digest = ? AND added = ?"
            mark = -1.0 if cause else time.time()
            there = rows.execute(same, (mark, digest, row["added"])).rowcount
        if not cause or not there:
            continue  # whole again, or asked for or removed by another process while we looked
        cause += owners(database, images=_IMAGES, repositories=_REPOSITORIES, value=digest)
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
            found = total if blob.offset else os.fstat(blob.fileno()).st_size
            if total != blob.size or found != blob.size:
                return f"has {found} bytes, not {blob.size}"
    except NotFound:
        return "its file is absent"
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    except OrlopError as error:
        return error.cause
    return "" if hasher.hexdigest() == Digest(digest).encoded else "has another content"


def owners(database: Database, *, images: str, repositories: str, value: str) -> str:
    """Whose it is, in words: each query gives image IDs, or repositories, for `value`."""
    name = "COALESCE((SELECT MIN(name) FROM names n WHERE n.image_id = found.image_id), found.image_id)"
    said = ""
    for kind, query in (
        ("image", f"SELECT DISTINCT {name} FROM ({images}) found"),  # noqa: S608
        ("repository", f"SELECT DISTINCT repository FROM ({repositories})"),  # noqa: S608
    ):
        names = [row[0] for row in database.query(query, (value,))]
        names.sort(key=lambda name: (name.startswith("sha256:"), name))  # steps of builds have no name
        if names:
            more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
            said += f"; of {kind} {', '.join(names[:_NAMED])}{more}"
    return said


def _forget(layout: Layout, database: Database, digest: str) -> None:
    with database.transaction() as rows:
        rows.execute("DELETE FROM blobs WHERE digest = ?", (digest,))
        rows.execute("DELETE FROM repository_blobs WHERE digest = ?", (digest,))
        remove_file(layout.blob(digest))  # before anybody can put a whole one there
