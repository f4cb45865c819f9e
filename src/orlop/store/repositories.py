"""What `orlop registry serve` serves: repositories, which link blobs and hold manifests and tags.

A blob belongs to whoever links it: the same bytes may lie here for an image that was pulled and for ten
repositories, once. A client sees a blob through a repository only. Every change is one durable transaction,
so a manifest is never there without what it names, and a collection beside a push sees all of it or nothing.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence

from orlop.image.digest import Digest
from orlop.kit import limits, locks
from orlop.kit.database import Database
from orlop.kit.errors import Conflict, NotFound
from orlop.kit.value import dataclass, field
from orlop.store import leases
from orlop.store.blobs.put import is_there
from orlop.store.blobs.unused import forget_unused, remove_files
from orlop.store.blobs.write import adopt
from orlop.store.errors import explained
from orlop.store.layout import Layout

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    import sqlite3

_LINKED = "SELECT 1 FROM repository_blobs WHERE repository = ? AND digest = ?"
_HELD = "SELECT 1 FROM repository_manifests WHERE repository = ? AND digest = ?"


class MissingReferences(NotFound):
    """A manifest names what its repository does not have: `digests`."""

    def __init__(self, repository: str, digests: Sequence[str]) -> None:
        super().__init__(
            f"repository {repository}",
            f"{len(digests)} of what the manifest names is not in it",
            hint="push the blobs and the manifests of an index first",
        )
        self.digests = tuple(digests)


class TagMoved(Conflict):
    """The tag does not lead where the client expects it to."""


@dataclass(frozen=True)
class HeldManifest:
    """A manifest of a repository. `data` is empty where only its head was asked for; `size` is in bytes.

    `blobs` and `manifests` are what must be there before it may be: layers and config, or the entries of an
    index, which may be either.
    """

    digest: str
    media_type: str
    artifact_type: str
    subject: str
    size: int
    data: bytes = b""
    blobs: tuple[str, ...] = ()
    entries: tuple[str, ...] = ()


@dataclass(frozen=True)
class Condition:
    """RFC 9110, 13.1: what must be so for a tag to be moved. `absent`: it must not exist."""

    match: tuple[str, ...] = ()
    absent: bool = False


@dataclass(frozen=True)
class Unlinked:
    """What a collection took away: links to blobs, manifests, uploads; and bytes of files that went."""

    blobs: int = 0
    manifests: int = 0
    uploads: int = 0
    freed: int = 0


@dataclass(frozen=True)
class RepositoryUsage:
    """Of one repository: counts, and bytes of its blobs and manifests, each counted once."""

    name: str
    tags: int
    manifests: int
    size: int


@dataclass(frozen=True)
class TagUsage:
    """A tag: where it leads, and bytes of all that is behind it."""

    name: str
    digest: str
    media_type: str
    size: int


@dataclass(frozen=True)
class _Graph:
    """The manifests of one repository: digest -> what it names, and subject -> who refers to it."""

    named: dict[str, list[str]] = field(default_factory=dict)
    referrers: dict[str, list[str]] = field(default_factory=dict)


class Repositories:
    """All repositories of one store. Safe for many threads and processes. Raises OrlopError only."""

    def __init__(self, layout: Layout, database: Database) -> None:
        self._layout = layout
        self._database = database

    # Blobs

    def blob(self, repository: str, digest: str) -> int | None:
        """The size of a blob that the repository links; None where it does not.

        Whoever asks is about to use it: its link becomes young again, so that a collection leaves it alone.
        """
        rows = self._database.query(
            "SELECT size, linked FROM repository_blobs JOIN blobs USING (digest)"
            " WHERE repository = ? AND digest = ? AND added >= 0",
            (repository, digest),
        )
        if not rows:
            return None
        if time.time() - rows[0]["linked"] > limits.REGISTRY_GRACE / 2:
            with self._database.transaction(durable=False) as write:
                write.execute(
                    "UPDATE repository_blobs SET linked = ? WHERE repository = ? AND digest = ?",
                    (time.time(), repository, digest),
                )
        return int(rows[0]["size"])

    @explained
    def add_blob(self, repository: str, digest: Digest, path: str, size: int) -> None:
        """The finished, verified file `path`, of `size` bytes, becomes the blob, durably, and is linked.

        `path` is below the store and goes, also where the store had the blob already.
        """
        with leases.hold(self._layout):
            there = is_there(self._layout, self._database, digest, size)
            if not there:
                _sync(path)
            with self._database.transaction() as rows:
                if not there:
                    adopt(self._layout, rows, digest, path, size)
                _link(rows, repository, digest)
            if there:
                os.unlink(path)

    def mount(self, repository: str, digest: str, sources: Sequence[str]) -> bool:
        """Link a blob that one of `sources` links already; whether one does."""
        with self._database.transaction() as rows:
            for source in sources:
                there = "SELECT 1 FROM repository_blobs JOIN blobs USING (digest) WHERE added >= 0"
                if rows.execute(f"{there} AND repository = ? AND digest = ?", (source, digest)).fetchone():
                    _link(rows, repository, digest)
                    return True
        return False

    def holders(self, digest: str) -> list[str]:
        """Repositories that link the blob, by name; at most limits.REGISTRY_PAGE of them."""
        found = "SELECT repository FROM repository_blobs WHERE digest = ? ORDER BY 1 LIMIT ?"
        return [row[0] for row in self._database.query(found, (digest, limits.REGISTRY_PAGE))]

    def remove_blob(self, repository: str, digest: str) -> bool:
        """Whether the repository linked it; the bytes go with the next collection, unless others have it."""
        with self._database.transaction() as rows:
            gone = rows.execute(
                "DELETE FROM repository_blobs WHERE repository = ? AND digest = ?", (repository, digest)
            )
            return gone.rowcount > 0

    # Manifests and tags

    def exists(self, repository: str) -> bool:
        """Whether anything was pushed to it and is still there."""
        kinds = ("repository_manifests", "repository_blobs", "repository_tags")
        question = " OR ".join(f"EXISTS (SELECT 1 FROM {kind} WHERE repository = ?1)" for kind in kinds)  # noqa: S608
        return bool(self._database.query(f"SELECT {question}", (repository,))[0][0])

    def manifest(self, repository: str, reference: str, *, head: bool = False) -> HeldManifest | None:
        """By digest or tag; with `head` without its bytes."""
        data = "x''" if head else "data"
        where = "digest = ?2" if ":" in reference else f"digest = ({_LEADS})"
        rows = self._database.query(
            f"SELECT digest, media_type, artifact_type, subject, length(data) AS size, {data} AS data"  # noqa: S608
            f" FROM repository_manifests WHERE repository = ?1 AND {where}",
            (repository, reference),
        )
        return _held(rows[0]) if rows else None

    def put_manifest(
        self,
        repository: str,
        manifest: HeldManifest,
        tags: Sequence[str] = (),
        *,
        sparse: bool = False,
        condition: Condition | None = None,
    ) -> None:
        """Record it and point `tags` at it, durably. With `sparse`, what it names need not be there.

        Raises MissingReferences, and TagMoved where `condition` does not hold for a tag.
        """
        with self._database.transaction() as rows:
            if condition is not None:
                _check(rows, repository, tags, condition)
            missing = [] if sparse else _missing(rows, repository, manifest)
            if missing:
                raise MissingReferences(repository, missing)
            rows.execute(
                "INSERT INTO repository_manifests"
                " (repository, digest, media_type, artifact_type, subject, data, added)"
                " VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (repository, digest) DO UPDATE SET"
                " media_type = excluded.media_type, added = excluded.added",
                (
                    *(repository, manifest.digest, manifest.media_type, manifest.artifact_type),
                    *(manifest.subject, manifest.data, time.time()),
                ),
            )
            rows.executemany(
                "INSERT OR IGNORE INTO repository_references (repository, manifest, digest) VALUES (?, ?, ?)",
                [(repository, manifest.digest, named) for named in (*manifest.blobs, *manifest.entries)],
            )
            rows.executemany(
                "INSERT OR REPLACE INTO repository_tags (repository, tag, digest) VALUES (?, ?, ?)",
                [(repository, tag, manifest.digest) for tag in tags],
            )

    def remove_manifest(self, repository: str, digest: str) -> bool:
        """It and the tags that lead to it; whether it was there."""
        with self._database.transaction() as rows:
            return _forget(rows, repository, digest)

    def remove_tag(self, repository: str, tag: str) -> bool:
        """Whether it was there; its manifest stays."""
        with self._database.transaction() as rows:
            gone = rows.execute(
                "DELETE FROM repository_tags WHERE repository = ? AND tag = ?", (repository, tag)
            )
            return gone.rowcount > 0

    # Discovery

    def tags(self, repository: str, *, after: str = "", most: int = limits.REGISTRY_PAGE) -> list[str]:
        """In the order of their bytes, those behind `after`."""
        found = "SELECT tag FROM repository_tags WHERE repository = ? AND tag > ? ORDER BY tag LIMIT ?"
        return [row[0] for row in self._database.query(found, (repository, after, most))]

    def names(self, *, after: str = "", most: int = limits.REGISTRY_PAGE) -> list[str]:
        """Repositories in the order of their bytes, those behind `after`."""
        found = (
            "SELECT repository FROM repository_manifests WHERE repository > ?1"
            " UNION SELECT repository FROM repository_blobs WHERE repository > ?1 ORDER BY 1 LIMIT ?2"
        )
        return [row[0] for row in self._database.query(found, (after, most))]

    def referrers(
        self, repository: str, subject: str, *, artifact_type: str = "", after: str = ""
    ) -> HeldManifest | None:
        """The first manifest behind the digest `after` whose subject this is; None behind the last."""
        rows = self._database.query(
            "SELECT digest, media_type, artifact_type, subject, length(data) AS size, data"
            " FROM repository_manifests WHERE repository = ?1 AND subject = ?2 AND digest > ?3"
            " AND (?4 = '' OR artifact_type = ?4) ORDER BY digest LIMIT 1",
            (repository, subject, after, artifact_type),
        )
        return _held(rows[0]) if rows else None

    def usage(self) -> list[RepositoryUsage]:
        """Every repository, by name."""
        return [self._usage(name) for name in self.names(most=-1)]

    def tag_usage(self, repository: str) -> list[TagUsage]:
        """Every tag, by name; and what no tag leads to, as a tag without a name. Raises NotFound."""
        if not self.exists(repository):
            raise NotFound(f"repository {repository}", "is not here", hint="see: orlop registry list")
        rows = self._database.query(
            "SELECT COALESCE(tag, '') AS name, m.digest, media_type FROM repository_manifests m"
            " LEFT JOIN repository_tags t ON t.repository = m.repository AND t.digest = m.digest"
            " WHERE m.repository = ? ORDER BY tag IS NULL, tag, m.digest",
            (repository,),
        )
        return [
            TagUsage(
                row["name"], row["digest"], row["media_type"], self._size_behind(repository, row["digest"])
            )
            for row in rows
        ]

    def _usage(self, name: str) -> RepositoryUsage:
        (row,) = self._database.query(
            "SELECT (SELECT COUNT(*) FROM repository_tags WHERE repository = ?1),"
            " (SELECT COUNT(*) FROM repository_manifests WHERE repository = ?1),"
            " (SELECT COALESCE(SUM(length(data)), 0) FROM repository_manifests WHERE repository = ?1)"
            " + (SELECT COALESCE(SUM(size), 0) FROM repository_blobs JOIN blobs USING (digest)"
            " WHERE repository = ?1)",
            (name,),
        )
        return RepositoryUsage(name, *row)

    def _size_behind(self, repository: str, digest: str) -> int:
        (row,) = self._database.query(
            "WITH RECURSIVE behind (digest) AS (SELECT ?2 UNION SELECT r.digest FROM behind b"
            " JOIN repository_references r ON r.repository = ?1 AND r.manifest = b.digest)"
            " SELECT (SELECT COALESCE(SUM(length(data)), 0) FROM repository_manifests"
            " WHERE repository = ?1 AND digest IN behind)"
            " + (SELECT COALESCE(SUM(size), 0) FROM blobs WHERE digest IN behind)",
            (repository, digest),
        )
        return int(row[0])

    # Collection

    def unlink(self, *, grace: float = limits.REGISTRY_GRACE, untagged: bool = False) -> Unlinked:
        """Let go of blobs that no manifest of their repository names and nobody touched for `grace` seconds.

        With `untagged` first of manifests as old that no tag, no index that stays and no subject that stays
        leads to. May run beside pushes: what a client has begun is younger than `grace`.
        """
        cutoff = time.time() - grace
        manifests = 0
        with self._database.transaction() as rows:
            if untagged:
                for repository, digest in _unreachable(rows, cutoff):
                    _forget(rows, repository, digest)
                    manifests += 1
            blobs = rows.execute(
                "DELETE FROM repository_blobs WHERE linked <= ? AND NOT EXISTS"
                " (SELECT 1 FROM repository_references r WHERE r.repository = repository_blobs.repository"
                " AND r.digest = repository_blobs.digest)",
                (cutoff,),
            ).rowcount
        return Unlinked(blobs=blobs, manifests=manifests)

    @explained
    def free(self, *, grace: float, timeout: float) -> int:
        """Remove the files of blobs that neither a repository nor an image names; bytes that they had.

        Blobs younger than `grace` seconds stay, and what pulls and uploads under way have asked for. Waits
        for others who remove; raises TimedOut after `timeout` seconds.
        """
        with locks.hold(self._layout.removal_lock, timeout=timeout):
            before = leases.oldest(self._layout)
            with self._database.transaction() as rows:
                gone = forget_unused(rows, before, age=grace)
            return remove_files(self._layout, self._database, gone)


_LEADS = "SELECT digest FROM repository_tags WHERE repository = ?1 AND tag = ?2"


def _held(row: sqlite3.Row) -> HeldManifest:
    return HeldManifest(
        *(row["digest"], row["media_type"], row["artifact_type"], row["subject"], row["size"]),
        data=bytes(row["data"]),
    )


def _sync(path: str) -> None:
    file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.fdatasync(file)
    finally:
        os.close(file)


def _link(rows: sqlite3.Connection, repository: str, digest: str) -> None:
    rows.execute(
        "INSERT INTO repository_blobs (repository, digest, linked) VALUES (?1, ?2, ?3)"
        " ON CONFLICT (repository, digest) DO UPDATE SET linked = ?3",
        (repository, digest, time.time()),
    )


def _check(rows: sqlite3.Connection, repository: str, tags: Sequence[str], condition: Condition) -> None:
    for tag in tags:
        found = rows.execute(_LEADS, (repository, tag)).fetchone()
        wrong = found is not None if condition.absent else found is None
        if not wrong and condition.match and "*" not in condition.match:
            wrong = found[0] not in condition.match
        if wrong:
            raise TagMoved(
                f"tag {tag} of {repository}", "leads elsewhere", hint="read it anew, then try again"
            )


def _missing(rows: sqlite3.Connection, repository: str, manifest: HeldManifest) -> list[str]:
    whole = "SELECT 1 FROM blobs b WHERE b.digest = repository_blobs.digest AND b.added >= 0"
    there = f"{_LINKED} AND EXISTS ({whole})"
    missing = [
        digest
        for digest in dict.fromkeys(manifest.blobs)
        if not rows.execute(there, (repository, digest)).fetchone()
    ]
    missing += [
        digest
        for digest in dict.fromkeys(manifest.entries)
        if not rows.execute(_HELD, (repository, digest)).fetchone()
        and not rows.execute(there, (repository, digest)).fetchone()
    ]
    return missing


def _forget(rows: sqlite3.Connection, repository: str, digest: str) -> bool:
    both = (repository, digest)
    gone = rows.execute("DELETE FROM repository_manifests WHERE repository = ? AND digest = ?", both)
    rows.execute("DELETE FROM repository_tags WHERE repository = ? AND digest = ?", both)
    rows.execute("DELETE FROM repository_references WHERE repository = ? AND manifest = ?", both)
    return gone.rowcount > 0


def _unreachable(rows: sqlite3.Connection, cutoff: float) -> list[tuple[str, str]]:
    """(repository, digest) of manifests that nothing leads to and that are older than `cutoff`."""
    found: list[tuple[str, str]] = []
    names = [row[0] for row in rows.execute("SELECT DISTINCT repository FROM repository_manifests")]
    for repository in names:
        graph = _Graph()
        roots = {
            row[0]
            for row in rows.execute("SELECT digest FROM repository_tags WHERE repository = ?", (repository,))
        }
        known = []
        for digest, subject, added in rows.execute(
            "SELECT digest, subject, added FROM repository_manifests WHERE repository = ?", (repository,)
        ):
            known.append(digest)
            graph.referrers.setdefault(subject, []).append(digest)
            if added > cutoff:
                roots.add(digest)
        for manifest, digest in rows.execute(
            "SELECT manifest, digest FROM repository_references WHERE repository = ?", (repository,)
        ):
            graph.named.setdefault(manifest, []).append(digest)
        kept = _reached(graph, roots)
        found += [(repository, digest) for digest in known if digest not in kept]
    return found


def _reached(graph: _Graph, roots: set[str]) -> set[str]:
    reached: set[str] = set()
    waiting = list(roots)
    while waiting:
        digest = waiting.pop()
        if digest and digest not in reached:
            reached.add(digest)
            waiting += graph.named.get(digest, ())
            waiting += graph.referrers.get(digest, ())
    return reached
