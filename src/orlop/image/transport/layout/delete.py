"""Deleting an image from an OCI image layout: its entry, then the blobs that no other entry leads to."""

from __future__ import annotations

import contextlib
import json
import os

from orlop.image import documents, manifest
from orlop.image.digest import Digest
from orlop.image.manifest import Descriptor, Index, Manifest
from orlop.image.transport.layout import entries
from orlop.image.transport.layout.files import FolderFiles, told
from orlop.image.transport.layout.source import LayoutSource
from orlop.image.transport.layout.staging import blob_name
from orlop.kit import files, limits, locks
from orlop.kit.errors import NotFound


def delete(path: str, reference: str) -> Digest:
    """The entry that `reference` means (as entries.choose has it) goes; the digest that it led to.

    Writers that are under way and counted on one of its blobs find out at their commit. Raises NotFound,
    InvalidInput, Corrupt, Denied.
    """
    subject = f"oci:{path}"
    source = LayoutSource(FolderFiles(path, subject), reference)
    try:
        with told(subject), locks.hold(path):
            index = source.index()
            chosen = entries.choose(index, reference, lambda digest: source.manifest(digest).data, subject)
            others = tuple(entry for entry in index.manifests if entry != chosen)
            kept = _reachable(source, others, subject)
            gone = _reachable(source, (chosen,), subject) - kept
            data = files.read_bounded(os.path.join(path, entries.INDEX), limits.MANIFEST_SIZE)
            files.write_atomic(os.path.join(path, entries.INDEX), _without(data, chosen, subject))
            for digest in gone:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(os.path.join(path, blob_name(digest)))
            return chosen.digest
    finally:
        source.close()


def _reachable(source: LayoutSource, start: tuple[Descriptor, ...], subject: str) -> set[Digest]:
    """Every blob that the entries lead to, their manifests included."""
    found: set[Digest] = set()
    index = Index(manifest.OCI_INDEX, start)
    for entry in entries.walk(index, lambda digest: source.manifest(digest).data, subject):
        if entry.digest in found:
            continue
        found.add(entry.digest)
        try:
            parsed = manifest.parse(source.manifest(entry.digest).data, entry.media_type, subject)
        except NotFound:
            continue
        if isinstance(parsed, Manifest):
            found.update(blob.digest for blob in (parsed.config, *parsed.layers))
    return found


def _without(data: bytes, chosen: Descriptor, subject: str) -> bytes:
    """index.json without that entry; all else as it was."""
    document = documents.read_object(data, subject)
    name = chosen.annotations.get(entries.NAME)
    document["manifests"] = [
        entry
        for entry in document["manifests"]
        if (entry["digest"], (entry.get("annotations") or {}).get(entries.NAME)) != (chosen.digest, name)
    ]
    return json.dumps(document, indent=2, ensure_ascii=False).encode()
