"""Layers are decompressed as blobs are everywhere: `orlop.image.decompress`."""

from orlop.image.decompress import STEP, decompressed

__all__ = ["STEP", "decompressed"]
