"""Where everything is, and the database that says what it means.

root/store.db                      what is acknowledged; SQLite in WAL mode
root/layers/<n>/diff               one diff, n from a counter that never goes back (short: see overlay.py)
root/layers/<n>/listing            what the diff held when it was verified, for `check`
root/layers/<n>/image               instead of the two above: the diff as an EROFS file system, its tar within
root/blobs/<algorithm>/<hex>       what registries gave, as they gave it
root/uploads/<id>                  what clients of our own registry have sent so far of a blob
root/rootfs/<container>/{upper,work}
root/tmp/<unique>/                 work under way: its owner holds a lock on the folder itself
state/mounts/<container>           merged file systems
state/mapped/<container>/          the root of a container in a user namespace, and what is mounted to make it
state/volumes/<container>/<n>      images that are mounted into a container, read-only
state/layers/<n>-<device>-<inode>  EROFS images of layers, mounted (erofs/mounts.py)
state/erofs                        whether this kernel mounts such images (erofs/support.py)
state/images/<hex>/{root,by/}      read-only roots of images, and the names they were mounted by
state/locks/                       flock files: leases, removal, layers, containers
"""

from __future__ import annotations

from orlop.kit.node import Node

SCHEMA = (
    """
    CREATE TABLE counter (next INTEGER NOT NULL);
    INSERT INTO counter VALUES (1);
    CREATE TABLE diffs (
        diff_id TEXT PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        size INTEGER NOT NULL,
        entries INTEGER NOT NULL,
        packed INTEGER NOT NULL,
        blob TEXT NOT NULL,
        opaque INTEGER NOT NULL,
        broken INTEGER NOT NULL DEFAULT 0
    );
    CREATE TABLE layers (
        chain_id TEXT PRIMARY KEY,
        parent TEXT,
        diff_id TEXT NOT NULL REFERENCES diffs (diff_id)
    );
    CREATE INDEX layers_by_diff ON layers (diff_id);
    CREATE TABLE images (
        id TEXT PRIMARY KEY,
        digest TEXT NOT NULL,
        manifest BLOB NOT NULL,
        config BLOB NOT NULL,
        created TEXT NOT NULL
    );
    CREATE TABLE image_layers (
        image_id TEXT NOT NULL REFERENCES images (id) ON DELETE CASCADE,
        position INTEGER NOT NULL,
        chain_id TEXT NOT NULL REFERENCES layers (chain_id),
        PRIMARY KEY (image_id, position)
    );
    CREATE INDEX image_layers_by_chain ON image_layers (chain_id);
    CREATE TABLE names (
        name TEXT PRIMARY KEY,
        image_id TEXT NOT NULL REFERENCES images (id) ON DELETE CASCADE
    );
    CREATE INDEX names_by_image ON names (image_id);
    CREATE TABLE digests (
        image_id TEXT NOT NULL REFERENCES images (id) ON DELETE CASCADE,
        digest TEXT NOT NULL,
        PRIMARY KEY (image_id, digest)
    );
    CREATE INDEX digests_by_digest ON digests (digest);
    CREATE TABLE rootfs (
        container_id TEXT PRIMARY KEY,
        image_id TEXT NOT NULL REFERENCES images (id)
    );
    CREATE INDEX rootfs_by_image ON rootfs (image_id)
    """,
    """
    CREATE TABLE volumes (
        container_id TEXT NOT NULL,
        image_id TEXT NOT NULL REFERENCES images (id),
        PRIMARY KEY (container_id, image_id)
    );
    CREATE INDEX volumes_by_image ON volumes (image_id);
    CREATE VIEW uses AS
        SELECT container_id, image_id FROM rootfs UNION SELECT container_id, image_id FROM volumes
    """,
    # Blobs as registries have them. `layer` names the layers/<n> whose tar it is (an uncompressed layer is
    # stored once); else it is the file blobs/<algorithm>/<hex>. `added` is seconds since the epoch;
    # -1: `check` found it damaged, and whoever asks for it brings it anew.
    """
    CREATE TABLE blobs (
        digest TEXT PRIMARY KEY,
        size INTEGER NOT NULL,
        layer TEXT NOT NULL DEFAULT '',
        added REAL NOT NULL
    );
    CREATE TABLE image_blobs (
        image_id TEXT NOT NULL REFERENCES images (id) ON DELETE CASCADE,
        digest TEXT NOT NULL,
        PRIMARY KEY (image_id, digest)
    );
    CREATE INDEX image_blobs_by_digest ON image_blobs (digest);
    CREATE TABLE image_documents (
        image_id TEXT NOT NULL REFERENCES images (id) ON DELETE CASCADE,
        digest TEXT NOT NULL,
        kind TEXT NOT NULL,
        media_type TEXT NOT NULL,
        data BLOB NOT NULL,
        PRIMARY KEY (image_id, digest, kind)
    );
    ALTER TABLE diffs ADD COLUMN form TEXT NOT NULL DEFAULT 'files'
    """,
    # What `orlop registry serve` serves, by repository. `linked` is when a client last sent, mounted or asked
    # for the blob (seconds since the epoch); references are what a manifest names: blobs, or an index's own.
    """
    CREATE TABLE repository_blobs (
        repository TEXT NOT NULL,
        digest TEXT NOT NULL,
        linked REAL NOT NULL DEFAULT 0,
        PRIMARY KEY (repository, digest)
    );
    CREATE INDEX repository_blobs_by_digest ON repository_blobs (digest);
    CREATE TABLE repository_references (
        repository TEXT NOT NULL,
        manifest TEXT NOT NULL,
        digest TEXT NOT NULL,
        PRIMARY KEY (repository, manifest, digest)
    );
    CREATE INDEX repository_references_by_digest ON repository_references (repository, digest);
    CREATE TABLE repository_manifests (
        repository TEXT NOT NULL,
        digest TEXT NOT NULL,
        media_type TEXT NOT NULL,
        artifact_type TEXT NOT NULL,
        subject TEXT NOT NULL,
        data BLOB NOT NULL,
        added REAL NOT NULL,
        PRIMARY KEY (repository, digest)
    );
    CREATE INDEX repository_manifests_by_subject ON repository_manifests (repository, subject);
    CREATE TABLE repository_tags (
        repository TEXT NOT NULL,
        tag TEXT NOT NULL,
        digest TEXT NOT NULL,
        PRIMARY KEY (repository, tag)
    )
    """,
    # Which image a step of a build led to; `used` is seconds since the epoch.
    """
    CREATE TABLE build_cache (
        key TEXT PRIMARY KEY,
        image_id TEXT NOT NULL REFERENCES images (id) ON DELETE CASCADE,
        used REAL NOT NULL
    );
    CREATE INDEX build_cache_by_image ON build_cache (image_id)
    """,
    # When somebody who counts on it last asked for it, in seconds since the epoch (leases.py).
    """
    ALTER TABLE layers ADD COLUMN asked REAL NOT NULL DEFAULT 0;
    ALTER TABLE images ADD COLUMN asked REAL NOT NULL DEFAULT 0
    """,
    # Which manifest of its image a name led to ("": the image's own), and those that are not the image's own
    # now (manifests.py).
    """
    ALTER TABLE names ADD COLUMN digest TEXT NOT NULL DEFAULT '';
    CREATE TABLE image_manifests (
        image_id TEXT NOT NULL REFERENCES images (id) ON DELETE CASCADE,
        digest TEXT NOT NULL,
        data BLOB NOT NULL,
        PRIMARY KEY (image_id, digest)
    )
    """,
)

_STRIPES = 64  # lock files of containers: a fixed set, so that none is ever left over


class Layout:
    """The paths of one node's store. Makes nothing."""

    def __init__(self, node: Node) -> None:
        self.root = node.root
        self.state = node.state
        self.database = f"{node.root}/store.db"
        self.reserve = f"{node.root}/store.reserve"
        self.layers = f"{node.root}/layers"
        self.blobs = f"{node.root}/blobs"
        self.uploads = f"{node.root}/uploads"
        self.tmp = f"{node.root}/tmp"  # noqa: S108 - below our own root
        self.all_rootfs = f"{node.root}/rootfs"
        self.mounts = f"{node.state}/mounts"
        self.image_mounts = f"{node.state}/images"
        self.layer_mounts = f"{node.state}/layers"
        self.erofs_answer = f"{node.state}/erofs"
        self.locks = f"{node.state}/locks"
        self.leases = f"{self.locks}/leases"
        self.removal_lock = f"{self.locks}/store-removal"
        self.layer_mounts_lock = f"{self.locks}/layer-mounts"
        self.layer_mount_lock = f"{self.locks}/layer-mount"

    def layer(self, name: str) -> str:
        return f"{self.layers}/{name}"

    def diff(self, name: str) -> str:
        return f"{self.layers}/{name}/diff"

    def listing(self, name: str) -> str:
        return f"{self.layers}/{name}/listing"

    def image_file(self, name: str) -> str:
        return f"{self.layers}/{name}/image"

    def blob(self, digest: str) -> str:
        return f"{self.blobs}/{digest.replace(':', '/')}"

    def rootfs(self, container_id: str) -> str:
        return f"{self.all_rootfs}/{container_id}"

    def merged(self, container_id: str) -> str:
        return f"{self.mounts}/{container_id}"

    def mapped(self, container_id: str) -> str:
        return f"{self.state}/mapped/{container_id}"

    def volumes(self, container_id: str) -> str:
        return f"{self.state}/volumes/{container_id}"

    def image_mount(self, image_id: str) -> str:
        return f"{self.image_mounts}/{image_id.partition(':')[2]}"

    def diff_lock(self, diff_id: str) -> str:
        return f"{self.locks}/diff-{diff_id.partition(':')[2]}"

    def pull_lock(self, image_id: str) -> str:
        return f"{self.locks}/pull-{image_id.partition(':')[2]}"

    def container_lock(self, container_id: str) -> str:
        return f"{self.locks}/rootfs-{sum(container_id.encode()) % _STRIPES}"

    def image_mount_lock(self, image_id: str) -> str:
        return f"{self.locks}/image-{sum(image_id.encode()) % _STRIPES}"
