"""Images as they are recorded: put, find, list, name, unname, remove."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterable

from orlop.kit.database import Database
from orlop.kit.errors import InvalidInput, OrlopError
from orlop.store.errors import ImageInUse, ImageUnknown, LayerUnknown
from orlop.store.model import StoredImage

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    import sqlite3

    from orlop.image.digest import Digest
    from orlop.image.sink import ImageRecord

_HEX = frozenset("0123456789abcdef")
_PREFIX = 4  # digits of an id that are enough, where they are unique


def put_image(database: Database, image: ImageRecord) -> None:
    """See `orlop.image.sink.Sink.put_image`."""
    from orlop.store import manifests
    from orlop.store.blobs.documents import record

    created = _created(image.config)
    with database.transaction() as rows:
        for chain_id in image.layers:
            if rows.execute("SELECT 1 FROM layers WHERE chain_id = ?", (chain_id,)).fetchone() is None:
                raise LayerUnknown(f"layer {chain_id}", "is not in the store", hint="pull the image again")
        manifests.put_aside(rows, image.id, image.digest)
        rows.execute(
            "INSERT INTO images (id, digest, manifest, config, created, asked) VALUES (?, ?, ?, ?, ?, ?)"
            " ON CONFLICT (id) DO UPDATE SET digest = excluded.digest, manifest = excluded.manifest,"
            " asked = excluded.asked",
            (image.id, image.digest, image.manifest, image.config, created, time.time()),
        )
        rows.executemany(
            "INSERT OR IGNORE INTO image_layers (image_id, position, chain_id) VALUES (?, ?, ?)",
            [(image.id, position, chain_id) for position, chain_id in enumerate(image.layers)],
        )
        rows.executemany(
            "INSERT OR IGNORE INTO digests (image_id, digest) VALUES (?, ?)",
            [(image.id, digest) for digest in (image.digest, *image.digests)],
        )
        record(rows, image)
        for name in image.names:
            _point(rows, name, image.id, image.digest)
        manifests.settle(rows, image.id)


def has_image(database: Database, image_id: str) -> bool:
    """Whole: an image with a layer that `check` gave up is not there, so that a pull mends it."""
    broken = (
        "SELECT 1 FROM image_layers m JOIN layers l ON l.chain_id = m.chain_id"
        " JOIN diffs d ON d.diff_id = l.diff_id WHERE m.image_id = i.id AND d.broken"
    )
    query = f"SELECT 1 FROM images i WHERE i.id = ? AND NOT EXISTS ({broken})"  # noqa: S608
    return bool(database.query(query, (image_id,)))


def named(database: Database, name: str) -> tuple[Digest, Digest] | None:
    """See `orlop.image.sink.Sink.named`."""
    from orlop.image.digest import Digest

    query = (
        "SELECT i.id, IIF(n.digest = '', i.digest, n.digest) AS digest"
        " FROM names n JOIN images i ON i.id = n.image_id WHERE n.name = ?"
    )
    rows = database.query(query, (name,))
    if not rows or not has_image(database, rows[0]["id"]):
        return None
    return Digest(rows[0]["id"]), Digest(rows[0]["digest"])


def all_images(database: Database) -> list[StoredImage]:
    """Every image, by its first name, the nameless ones last."""
    found = []
    for row in database.query("SELECT id FROM images"):
        with contextlib.suppress(ImageUnknown):  # removed while we looked
            found.append(_image(database, row["id"]))
    return sorted(found, key=lambda image: (not image.names, image.names, image.id))


def find(database: Database, name: str) -> StoredImage:
    """By name (canonical or familiar), digest, id or a unique beginning of one. Raises ImageUnknown."""
    return _image(database, resolve(database, name)[0])


def resolve(database: Database, name: str) -> tuple[str, str]:
    """The image's id, and the canonical name that led to it ("" where it was an id or a digest)."""
    for candidate in _candidates(name):
        rows = database.query("SELECT image_id FROM names WHERE name = ?", (candidate,))
        if rows:
            return str(rows[0]["image_id"]), candidate
    found = _by_digest(database, name)
    if len(found) > 1:  # the digest of an index, of which several platforms were pulled
        found = _of_this_machine(database, found) or found
    found = found or _by_id(database, name)
    if not found:
        short = _by_short_name(database, name) or _by_last_part(database, name)
        if short is not None:
            return short
        raise unknown(name)
    if len(found) > 1:
        raise InvalidInput(
            name, f"leads to {len(found)} images", hint=f"give one's ID: {', '.join(found[:4])}"
        )
    return found[0], ""


def unknown(name: str) -> ImageUnknown:
    return ImageUnknown(name, "no such image in the store", hint=f"pull it: orlop image pull {name}")


def document(database: Database, image_id: str, column: str) -> bytes:
    """The raw `manifest` or `config`. Raises ImageUnknown."""
    assert column in ("manifest", "config")
    rows = database.query(f"SELECT {column} FROM images WHERE id = ?", (image_id,))  # noqa: S608
    if not rows:
        raise ImageUnknown(image_id, "no such image in the store", hint="see: orlop image list")
    return bytes(rows[0][0])


def tag(database: Database, name: str, new: str) -> None:
    """Point the name `new` at the image. Raises ImageUnknown, InvalidInput."""
    from orlop.image.reference import Reference
    from orlop.store import manifests

    image_id, known = resolve(database, name)
    reference = Reference.parse(new)
    if reference.digest is not None:  # such a name would lead to another image than it says
        raise InvalidInput(new, "holds a digest, which no tag can give", hint="write repository:tag")
    canonical = reference.canonical
    with database.transaction() as rows:
        if rows.execute("SELECT 1 FROM images WHERE id = ?", (image_id,)).fetchone() is None:
            raise ImageUnknown(name, "was removed meanwhile", hint=f"pull it: orlop image pull {name}")
        _point(rows, canonical, image_id, manifests.digest_of(rows, image_id, known))


def untag(database: Database, name: str) -> None:
    """Take a name away; the image stays. Raises ImageUnknown."""
    from orlop.store import manifests

    image_id, canonical = resolve(database, name)
    if not canonical:
        raise InvalidInput(name, "is an image, not a name of one", hint="give the name to take away")
    with database.transaction() as rows:
        rows.execute("DELETE FROM names WHERE name = ?", (canonical,))
        manifests.settle(rows, image_id)


def remove(database: Database, name: str, *, force: bool) -> tuple[list[str], str]:
    """Take a name away, and the image with its last one. Returns the names, and the image's id if it went.

    By id, an image of several names needs `force`. Raises ImageUnknown, and ImageInUse naming the container.
    """
    from orlop.store import manifests

    image_id, canonical = resolve(database, name)
    with database.transaction() as rows:
        names = [row[0] for row in rows.execute("SELECT name FROM names WHERE image_id = ?", (image_id,))]
        if canonical and not force and set(names) - {canonical}:
            rows.execute("DELETE FROM names WHERE name = ? AND image_id = ?", (canonical, image_id))
            manifests.settle(rows, image_id)
            return [canonical], ""
        if not canonical and len(names) > 1 and not force:
            raise ImageInUse(
                name,
                f"has {len(names)} names: {', '.join(sorted(names))}",
                hint="remove it by each name, or with --force",
            )
        _refuse_if_used(rows, name, image_id)
        rows.execute("DELETE FROM images WHERE id = ?", (image_id,))
    return sorted(names), image_id


def _refuse_if_used(rows: sqlite3.Connection, name: str, image_id: str) -> None:
    users = rows.execute("SELECT container_id FROM uses WHERE image_id = ?", (image_id,)).fetchall()
    if users:
        raise ImageInUse(
            name,
            f"is used by container {', '.join(row[0] for row in users)}",
            hint=f"remove the container first: orlop remove {users[0][0]}",
        )


def _image(database: Database, image_id: str) -> StoredImage:
    rows = database.query(
        "SELECT i.id, i.digest, i.created, (SELECT COALESCE(SUM(d.size), 0) FROM image_layers m"
        " JOIN layers l ON l.chain_id = m.chain_id JOIN diffs d ON d.diff_id = l.diff_id"
        " WHERE m.image_id = i.id) AS size FROM images i WHERE i.id = ?",
        (image_id,),
    )
    if not rows:
        raise ImageUnknown(image_id, "no such image in the store", hint="see: orlop image list")
    row = rows[0]

    def column(sql: str) -> tuple[str, ...]:
        return tuple(found[0] for found in database.query(sql, (image_id,)))

    return StoredImage(
        id=row["id"],
        digest=row["digest"],
        names=column("SELECT name FROM names WHERE image_id = ? ORDER BY name"),
        digests=column("SELECT digest FROM digests WHERE image_id = ? ORDER BY digest"),
        layers=column("SELECT chain_id FROM image_layers WHERE image_id = ? ORDER BY position"),
        size=row["size"],
        created=row["created"],
    )


def _candidates(name: str) -> Iterable[str]:
    """Names that the text may mean: as given, in canonical form, and as this machine's own (localhost/)."""
    yield name
    canonical = _try_canonical(name)
    if canonical:
        yield canonical
    local = _try_canonical(f"localhost/{name}")
    if local:
        yield local


def _by_short_name(database: Database, name: str) -> tuple[str, str] | None:
    """A short name as a pull reads it: registries.conf's aliases and search registries."""
    from orlop.image.reference import is_short
    from orlop.image.registries.load import load
    from orlop.image.registries.shortnames import candidates

    if not is_short(name):
        return None
    try:
        meant = [reference.canonical for reference in candidates(name, load())]
    except OrlopError:  # a pull tells what is wrong with the file
        return None
    for canonical in meant:
        for row in database.query("SELECT image_id FROM names WHERE name = ?", (canonical,)):
            return str(row["image_id"]), canonical
    return None


def _by_last_part(database: Database, name: str) -> tuple[str, str] | None:
    """A short name finds an image of any registry by the end of its name, as podman's does, if only one."""
    canonical = _try_canonical(f"localhost/{name}")
    if canonical is None:
        return None
    end = canonical.removeprefix("localhost")
    rows = database.query("SELECT name, image_id FROM names WHERE substr(name, -?) = ?", (len(end), end))
    if len({row["image_id"] for row in rows}) != 1:
        return None
    return str(rows[0]["image_id"]), str(rows[0]["name"])


def _by_digest(database: Database, name: str) -> list[str]:
    digest = name.rpartition("@")[2]
    if ":" not in digest:
        return []
    rows = database.query("SELECT DISTINCT image_id FROM digests WHERE digest = ?", (digest,))
    return [row["image_id"] for row in rows]


def _of_this_machine(database: Database, found: list[str]) -> list[str]:
    """Of these images the ones that a container could run: of a variant beside another, the better one."""
    from orlop.image.config import ImageConfig
    from orlop.image.platform import Platform

    variants = Platform.host().variants
    fitting: dict[int, list[str]] = {}
    for image_id in found:
        with contextlib.suppress(OrlopError):
            config = ImageConfig.from_json(document(database, image_id, "config"))
            platform = Platform.of(config.os, config.architecture, config.variant)
            if (platform.os, platform.architecture) == (Platform.host().os, Platform.host().architecture):
                place = variants.index(platform.variant) if platform.variant in variants else len(variants)
                fitting.setdefault(place, []).append(image_id)
    return fitting[min(fitting)] if fitting else []


def _by_id(database: Database, name: str) -> list[str]:
    digits = name.removeprefix("sha256:")
    if len(digits) < _PREFIX or not _HEX.issuperset(digits):
        return []
    rows = database.query("SELECT id FROM images WHERE id GLOB ?", (f"sha???:{digits}*",))
    return [row["id"] for row in rows]


def _canonical(name: str) -> str:
    from orlop.image.reference import Reference

    return Reference.parse(name).canonical


def _try_canonical(name: str) -> str | None:
    try:
        return _canonical(name)
    except OrlopError:
        return None


def _point(rows: sqlite3.Connection, name: str, image_id: str, digest: str) -> None:
    from orlop.store import manifests

    before = rows.execute("SELECT image_id FROM names WHERE name = ?", (name,)).fetchone()
    rows.execute(
        "INSERT INTO names (name, image_id, digest) VALUES (?, ?, ?)"
        " ON CONFLICT (name) DO UPDATE SET image_id = excluded.image_id, digest = excluded.digest",
        (name, image_id, digest),
    )
    if before is not None:
        manifests.settle(rows, before[0])


def _created(config: bytes) -> str:
    try:
        created = json.loads(config).get("created")
    except (ValueError, AttributeError):
        return ""
    return created if isinstance(created, str) else ""
