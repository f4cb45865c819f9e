"""Where the tar lies in a layer's image."""

from __future__ import annotations

TAR_OFFSET = 4096  # bytes: the superblock's block comes before, a page of its own


def tar_offset(path: str) -> int:
    """Bytes of the image file `path` before the layer's tar begins; FileNotFoundError where it is gone."""
    import os

    os.stat(path)
    return TAR_OFFSET


def tar_size(file: int) -> int:
    """Bytes of the tar in the open image file. Raises ValueError where it is none."""
    import os

    from orlop.store.erofs.format import Header

    return Header.read(os.pread(file, TAR_OFFSET, 0)).tar_size
