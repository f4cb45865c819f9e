"""Signatures that are added to an image in a folder (dir:), beside those that are there."""

from __future__ import annotations

import os
from collections.abc import Sequence

from orlop.image.digest import Digest
from orlop.image.transport.dir import DirSource, signature_name
from orlop.kit import files
from orlop.kit.errors import Denied


def add(path: str, digest: Digest, signatures: Sequence[bytes]) -> str:
    """Of the manifest `digest`; returns the folder. Raises as DirSource does, Denied."""
    source = DirSource(path)
    try:
        there = source.signatures(digest)
        is_top = source.current_digest() == digest
    finally:
        source.close()
    number = len(there)
    try:
        for signature in signatures:
            number += 1
            name = signature_name(None if is_top else digest, number)
            files.write_atomic(os.path.join(path, name), signature)
    except OSError as error:
        raise Denied(path, f"cannot be written: {error.strerror}", hint="see its owner and mode") from error
    return path
