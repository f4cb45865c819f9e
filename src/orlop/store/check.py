"""Compare what the database says with what is there, contents included."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator

from orlop.image.config import ImageConfig
from orlop.image.digest import Digest, chain_ids
from orlop.kit import locks
from orlop.kit.database import Database
from orlop.kit.errors import InvalidInput
from orlop.store import image_volumes, leases, mapped, overlay
from orlop.store.blobs import check as blobs
from orlop.store.blobs.unused import old_uploads, stray
from orlop.store.erofs import mounts as layer_mounts
from orlop.store.erofs.verify import damage as image_damage
from orlop.store.image_mounts import release
from orlop.store.layout import Layout
from orlop.store.model import CheckReport, Problem, StoreSettings
from orlop.store.prune import remove_leftovers, stray_folders
from orlop.store.verify_diff import damage
from orlop.store.workspace import dead

_NAMED = 5  # damaged files of one layer that a report names
_IMAGES = "SELECT i.image_id FROM image_layers i JOIN layers l ON l.chain_id = i.chain_id WHERE l.diff_id = ?"
_REPOSITORIES = (
    "SELECT r.repository FROM repository_blobs r JOIN blobs b ON b.digest = r.digest"
    " JOIN diffs d ON d.name = b.layer WHERE d.diff_id = ?"
)


def check(layout: Layout, database: Database, settings: StoreSettings, *, repair: bool) -> CheckReport:
    """See `Store.check`. Reads every byte of every layer and of every blob; what is damaged is marked.

    Leftovers of interrupted work are counted, not complained about: they are in nobody's way.
    """
    if repair:
        with locks.hold(layout.removal_lock, timeout=settings.prune_wait):
            return _check(layout, database, repair=True)
    return _check(layout, database, repair=False)


def _check(layout: Layout, database: Database, *, repair: bool) -> CheckReport:
    before = leases.oldest(layout)
    problems = [*_layers(layout, database, repair=repair), *_images(database, repair=repair)]
    problems += blobs.problems(layout, database, repair=repair)
    problems += _rootfs(layout, database, repair=repair)
    mounts = stale_mounts(layout, database)
    leftovers = len(mounts) + len(stray_folders(layout, database, before)) + len(dead(layout.tmp))
    leftovers += len(stray(layout, database, before)) + len(old_uploads(layout))
    if repair:
        for image_id, container_id in mounts:
            take_away(layout, database, image_id, container_id)
        remove_leftovers(layout, database, before)
        layer_mounts.release_idle(layout, database)
    return CheckReport(
        problems=tuple(problems),
        layers=_count(database, "layers"),
        images=_count(database, "images"),
        blobs=_count(database, "blobs"),
        leftovers=0 if repair else leftovers,
    )


def _layers(layout: Layout, database: Database, *, repair: bool) -> Iterator[Problem]:
    for row in database.query("SELECT diff_id, name, form, broken FROM diffs ORDER BY CAST(name AS INTEGER)"):
        if row["form"] == "erofs":
            found = image_damage(layout.image_file(row["name"]), row["diff_id"])
        else:
            found = damage(layout.diff(row["name"]), layout.listing(row["name"]))
        if not found and not row["broken"]:
            continue
        with database.transaction() as rows:  # the next pull brings a whole one, and keeps the images
            same = "UPDATE diffs SET broken = ? WHERE diff_id = ? AND name = ?"
            there = rows.execute(same, (bool(found), row["diff_id"], row["name"])).rowcount
        if not found or not there:
            continue  # whole again, or removed by another process while we looked
        more = f" and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
        cause = "; ".join(found[:_NAMED]) + more
        cause += blobs.owners(database, images=_IMAGES, repositories=_REPOSITORIES, value=row["diff_id"])
        if repair:
            cause += _give_up(database, row["diff_id"])
        yield Problem(f"layer {row['diff_id']}", cause, repaired=repair)
    missing = "parent IS NOT NULL AND parent NOT IN (SELECT chain_id FROM layers)"
    unused = "chain_id NOT IN (SELECT chain_id FROM image_layers)"
    for row in database.query(f"SELECT chain_id FROM layers WHERE {missing} AND NOT {unused}"):  # noqa: S608
        yield Problem(f"layer {row['chain_id']}", "its parent is not in the store")


def _give_up(database: Database, diff_id: str) -> str:
    """Forget a broken diff, so that the next pull fetches it; returns what became of its images."""
    with database.transaction() as rows:
        rows.execute(
            "DELETE FROM blobs WHERE layer = (SELECT name FROM diffs WHERE diff_id = ?)", (diff_id,)
        )  # its tar, which lies in the same file
        images = [
            row[0]
            for row in rows.execute(
                "SELECT DISTINCT i.image_id FROM image_layers i JOIN layers l ON l.chain_id = i.chain_id"
                " WHERE l.diff_id = ?",
                (diff_id,),
            )
        ]
        in_use = {row[0] for row in rows.execute("SELECT DISTINCT image_id FROM uses")}
        unused = [image for image in images if image not in in_use]
        rows.executemany("DELETE FROM images WHERE id = ?", [(image,) for image in unused])
        if len(unused) < len(images):  # containers stand on it: the next pull puts a whole one in its place
            rows.execute("UPDATE diffs SET broken = 1 WHERE diff_id = ?", (diff_id,))
            return "; containers use it: pull the image again"
        rows.execute("DELETE FROM layers WHERE diff_id = ?", (diff_id,))
        rows.execute("DELETE FROM diffs WHERE diff_id = ?", (diff_id,))
    return f"; removed, with {len(unused)} images: pull them again"


def _images(database: Database, *, repair: bool) -> Iterator[Problem]:
    for row in database.query("SELECT id, digest, manifest, config FROM images"):
        cause = _image_damage(database, row)
        if not cause or not database.query("SELECT 1 FROM images WHERE id = ?", (row["id"],)):
            continue  # whole, or removed while we looked
        used = database.query("SELECT container_id FROM uses WHERE image_id = ?", (row["id"],))
        removable = repair and not used
        if removable:
            with database.transaction() as rows:
                rows.execute("DELETE FROM images WHERE id = ?", (row["id"],))
        elif used:
            cause += f"; used by container {used[0]['container_id']}"
        yield Problem(f"image {row['id']}", cause, repaired=removable)


def _image_damage(database: Database, row: sqlite3.Row) -> str:
    """What is wrong with an image's record, in words; empty where nothing is."""
    query = "SELECT data, digest FROM image_manifests WHERE image_id = ?"
    for what, raw, wanted in (
        ("config", row["config"], row["id"]),
        ("manifest", row["manifest"], row["digest"]),
        *(("manifest", other["data"], other["digest"]) for other in database.query(query, (row["id"],))),
    ):
        try:
            if not isinstance(raw, bytes) or Digest.of(raw, Digest(wanted).algorithm) != wanted:
                return f"its {what} has another digest"
        except InvalidInput:
            return f"its {what} has no digest"
    there = database.query(
        "SELECT m.chain_id FROM image_layers m JOIN layers l ON l.chain_id = m.chain_id"
        " JOIN diffs d ON d.diff_id = l.diff_id WHERE m.image_id = ? ORDER BY m.position",
        (row["id"],),
    )
    wanted_layers = chain_ids(ImageConfig.from_json(row["config"]).diff_ids)
    if tuple(found["chain_id"] for found in there) != wanted_layers:
        return f"{len(there)} of its {len(wanted_layers)} layers are recorded as they should be"
    return ""


def _rootfs(layout: Layout, database: Database, *, repair: bool) -> Iterator[Problem]:
    for row in database.query("SELECT container_id FROM rootfs"):
        base = layout.rootfs(row["container_id"])
        with locks.hold(layout.container_lock(row["container_id"])):  # nobody makes or takes it just now
            whole = os.path.isdir(f"{base}/upper") and os.path.isdir(f"{base}/work")
        if whole or not database.query("SELECT 1 FROM rootfs WHERE container_id = ?", (row["container_id"],)):
            continue
        if repair:
            for name, mode in (("upper", 0o755), ("work", 0o700)):
                os.makedirs(f"{base}/{name}", mode=mode, exist_ok=True)
        cause = "what it wrote is gone: its folder is absent" + ("; it is as new now" if repair else "")
        yield Problem(f"file system of container {row['container_id']}", cause, repaired=repair)


def stale_mounts(layout: Layout, database: Database) -> list[tuple[str, str]]:
    """Mounts, or what is left of them, of images and containers that are gone: (image id, container id)."""
    found: list[tuple[str, str]] = []
    known = {row["container_id"] for row in database.query("SELECT container_id FROM rootfs")}
    if os.path.isdir(layout.mounts):
        found += [("", name) for name in sorted(set(os.listdir(layout.mounts)) - known)]
    found += [
        ("", name) for name in sorted({*image_volumes.holders(layout), *mapped.holders(layout)} - known)
    ]
    images = {row["id"].partition(":")[2]: row["id"] for row in database.query("SELECT id FROM images")}
    if os.path.isdir(layout.image_mounts):
        found += [
            (f"sha256:{name}", "") for name in sorted(os.listdir(layout.image_mounts)) if name not in images
        ]
    return found


def take_away(layout: Layout, database: Database, image_id: str, container_id: str) -> None:
    if image_id:
        release(layout, image_id)
        return
    with locks.hold(layout.container_lock(container_id)):
        if not database.query("SELECT 1 FROM rootfs WHERE container_id = ?", (container_id,)):
            overlay.unmount(layout.merged(container_id))
            with contextlib.suppress(FileNotFoundError):
                os.rmdir(layout.merged(container_id))
            mapped.release(layout, container_id)
            image_volumes.release(layout, container_id)


def _count(database: Database, table: str) -> int:
    return int(database.query(f"SELECT COUNT(*) FROM {table}")[0][0])  # noqa: S608
