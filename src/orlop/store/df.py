"""What takes how much room: unpacked bytes of layers, blobs as they came, what containers wrote."""

from __future__ import annotations

import contextlib
import os
import sqlite3

from orlop.kit.database import Database
from orlop.store import run_caches
from orlop.store.layout import Layout
from orlop.store.model import Usage, UsageRow
from orlop.store.rootfs import tree_usage


def df(layout: Layout, database: Database) -> Usage:
    """See `Store.df`. A layer that two images have is `shared` in both."""
    layers = _layers(database)
    images = _images(database)
    containers = [
        UsageRow(
            kind="rootfs", id=row["container_id"], name=row["container_id"],
            size=(used := tree_usage(f"{layout.rootfs(row['container_id'])}/upper")[0]),
            shared=0, unique=used, in_use=True,
        )
        for row in database.query("SELECT container_id FROM rootfs ORDER BY container_id")
    ]  # fmt: skip
    held = database.query(
        "SELECT COALESCE(SUM(size), 0) FROM diffs WHERE diff_id IN (SELECT l.diff_id FROM layers l"
        " JOIN image_layers i ON i.chain_id = l.chain_id JOIN uses r ON r.image_id = i.image_id)"
    )[0][0]
    content = database.query("SELECT COALESCE(SUM(size), 0) FROM diffs")[0][0]
    blobs = _blobs(database)
    caches = [
        UsageRow("cache", name, "RUN --mount", used, 0, used, in_use=False)
        for name, used in run_caches.listed(layout)
    ]
    others = [*blobs, *_uploads(layout), *_documents(database), *containers, *caches]
    return Usage(
        rows=(*images, *layers, *others),
        total=content + sum(row.size for row in others),
        reclaimable=content - held + sum(row.size for row in (*blobs, *caches) if not row.in_use),
    )


def content(database: Database) -> tuple[int, int]:
    """See `Store.content`."""
    row = database.query("SELECT COALESCE(SUM(size), 0), COALESCE(SUM(entries), 0) FROM diffs")[0]
    return int(row[0]), int(row[1])


def _layers(database: Database) -> list[UsageRow]:
    rows = database.query(
        "SELECT l.chain_id, d.size, COUNT(DISTINCT i.image_id) AS images,"
        " (SELECT COUNT(*) FROM layers o WHERE o.diff_id = l.diff_id) AS layers"
        " FROM layers l JOIN diffs d ON d.diff_id = l.diff_id"
        " LEFT JOIN image_layers i ON i.chain_id = l.chain_id GROUP BY l.chain_id ORDER BY l.rowid"
    )
    return [_row("layer", row["chain_id"], "", row["size"], _shared(row), row["images"] > 0) for row in rows]


def _images(database: Database) -> list[UsageRow]:
    found = []
    for image in database.query(
        "SELECT i.id, (SELECT MIN(name) FROM names n WHERE n.image_id = i.id) AS name,"
        " EXISTS (SELECT 1 FROM uses r WHERE r.image_id = i.id) AS used FROM images i ORDER BY name"
    ):
        parts = database.query(
            "SELECT d.size, (SELECT COUNT(DISTINCT o.image_id) FROM image_layers o JOIN layers ol"
            " ON ol.chain_id = o.chain_id WHERE ol.diff_id = d.diff_id) AS images FROM diffs d"
            " WHERE d.diff_id IN (SELECT l.diff_id FROM image_layers m JOIN layers l"
            " ON l.chain_id = m.chain_id WHERE m.image_id = ?)",
            (image["id"],),
        )
        size = sum(part["size"] for part in parts)
        shared = sum(part["size"] for part in parts if part["images"] > 1)
        found.append(_row("image", image["id"], image["name"] or "", size, shared, bool(image["used"])))
    return found


def _blobs(database: Database) -> list[UsageRow]:
    """One that lies within a layer's file takes no room of its own. `prune(all_images=True)` leaves those in
    use: of images that containers use, and of repositories.
    """
    rows = database.query(
        "SELECT b.digest, CASE b.layer WHEN '' THEN b.size ELSE 0 END AS size,"
        " (SELECT COUNT(*) FROM image_blobs i WHERE i.digest = b.digest) AS images,"
        " (SELECT COUNT(*) FROM repository_blobs r WHERE r.digest = b.digest) AS repositories,"
        " (SELECT MIN(n.name) FROM image_blobs i JOIN names n ON n.image_id = i.image_id"
        " WHERE i.digest = b.digest) AS image,"
        " (SELECT MIN(r.repository) FROM repository_blobs r WHERE r.digest = b.digest) AS repository,"
        " EXISTS (SELECT 1 FROM image_blobs i JOIN uses u ON u.image_id = i.image_id"
        " WHERE i.digest = b.digest) AS used FROM blobs b ORDER BY b.added, b.digest"
    )
    found = []
    for row in rows:
        shared = row["size"] if row["images"] + row["repositories"] > 1 else 0
        name = row["image"] or row["repository"] or ""
        in_use = bool(row["used"] or row["repositories"])
        found.append(_row("blob", row["digest"], name, row["size"], shared, in_use))
    return found


def _uploads(layout: Layout) -> list[UsageRow]:
    """What clients of our registry are sending."""
    names = sorted(os.listdir(layout.uploads)) if os.path.isdir(layout.uploads) else []
    found = []
    for name in names:
        path = f"{layout.uploads}/{name}"
        with contextlib.suppress(FileNotFoundError):
            size = tree_usage(path)[0] if os.path.isdir(path) else os.lstat(path).st_blocks * 512
            found.append(_row("upload", name, name, size, 0, True))
    return found


def _documents(database: Database) -> list[UsageRow]:
    """Signatures and indexes beside images, and what repositories hold of manifests, each in one row."""
    found = []
    for kind, table in (("documents", "image_documents"), ("manifests", "repository_manifests")):
        row = database.query(f"SELECT COUNT(*), COALESCE(SUM(LENGTH(data)), 0) FROM {table}")[0]  # noqa: S608
        if row[0]:
            found.append(_row(kind, "", f"{row[0]} of them", int(row[1]), 0, True))
    return found


def _shared(row: sqlite3.Row) -> int:
    return int(row["size"]) if row["images"] > 1 or row["layers"] > 1 else 0


def _row(kind: str, name_id: str, name: str, size: int, shared: int, in_use: bool) -> UsageRow:
    return UsageRow(kind, name_id, name, size, shared, size - shared, in_use)
