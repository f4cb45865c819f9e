"""Copy-on-write layers, images and container file systems on disk, shared by many processes at once.

Contract
--------
- Many processes open the same store at the same time; no daemon. Metadata in SQLite (kit.database); content
  is written to a temporary name, synced, then renamed. A kill -9 or a power cut at any instant loses nothing
  that was acknowledged and leaves nothing that blocks the next start.
- Layers are known by chain ID and are immutable; equal diffs are stored once.
- Archives are hostile until proven otherwise: extraction happens below a directory file descriptor and an
  archive with one bad entry is refused whole.
- Opening a store is cheap (no scan, no network, no asyncio): `orlop run` does it each time.
- Follows: OCI image-spec 1.1 (layer.md: whiteouts, opaque folders, attributes), Linux overlayfs.

The public face is `orlop.store.store.Store`.
"""
