"""Manifests into and out of a registry: OCI distribution-spec 1.1, "Pushing Manifests", "Deleting".

Where the registry has no referrers API, the index of the tag schema is kept as the specification asks. Other
clients may change it at the same time and the protocol has no way to exclude them: threads of this process
take turns, and each change is read back and made again where another process won.
"""

from __future__ import annotations

import json
import random
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

from orlop.image.digest import Digest
from orlop.image.manifest import OCI_INDEX, OCI_MANIFEST, Index, Manifest, parse
from orlop.image.transport.registry import ERROR_BODY, RegistryClient, fallback_tag
from orlop.image.transport.source import RawManifest
from orlop.kit import limits
from orlop.kit.errors import Conflict, Corrupt, NotFound

_PAUSE = 0.05
_GUARD = threading.Lock()
_TURNS: weakref.WeakValueDictionary[str, threading.Lock] = weakref.WeakValueDictionary()
Entries = list[dict[str, Any]]


def put_manifest(client: RegistryClient, manifest: RawManifest, name: str) -> None:
    """Under `name` (a tag or its digest), with what its subject's list of referrers needs."""
    headers = {"Content-Type": manifest.media_type, "Content-Length": str(len(manifest.data))}
    for attempt in range(1, limits.HTTP_ATTEMPTS + 1):
        answer = client.request("PUT", f"manifests/{name}", headers, manifest.data)
        # docker-registry says 400 where another client pushes one of the blobs at this very moment: it
        # reads a link that is just being rewritten.
        if answer.status != 400 or attempt == limits.HTTP_ATTEMPTS:
            break
        said = answer.read_start(ERROR_BODY)
        if b"DIGEST_INVALID" not in said:
            raise client.refused(answer, f"manifest {name}", said)
        time.sleep(_PAUSE * attempt)
    client.expect(answer, (200, 201), f"place for manifest {name}")
    told, handled = answer.header("Docker-Content-Digest"), bool(answer.header("OCI-Subject"))
    answer.read_start(ERROR_BODY)
    if told and told.startswith(manifest.digest.algorithm + ":") and told != manifest.digest:
        raise Corrupt(
            str(client.endpoint.reference),
            f"{client.endpoint.host} stored manifest {told[:100]} where {manifest.digest} was sent",
            hint="the registry changes manifests: push to another one",
        )
    if not handled:
        add_referrer(client, manifest)


def add_referrer(client: RegistryClient, manifest: RawManifest) -> None:
    """Put `manifest` on the list of its subject's fallback tag; nothing where it has no subject."""
    parsed = _of_oci(manifest, client)
    if parsed is None or parsed.subject is None:
        return
    entry: dict[str, Any] = {
        "mediaType": manifest.media_type,
        "digest": str(manifest.digest),
        "size": len(manifest.data),
    }
    kind = parsed.artifact_type or (parsed.config.media_type if isinstance(parsed, Manifest) else "")
    if kind:
        entry["artifactType"] = kind
    if parsed.annotations:
        entry["annotations"] = dict(parsed.annotations)

    def change(entries: Entries) -> Entries:
        if any(other.get("digest") == entry["digest"] for other in entries):
            return entries
        return [*entries, entry]

    _update(client, parsed.subject.digest, change)


def remove_referrer(client: RegistryClient, manifest: RawManifest) -> None:
    """Take `manifest` off the list of its subject's fallback tag."""
    parsed = _of_oci(manifest, client)
    if parsed is None or parsed.subject is None:
        return
    digest = str(manifest.digest)
    _update(
        client,
        parsed.subject.digest,
        lambda entries: [entry for entry in entries if entry.get("digest") != digest],
    )


def _of_oci(manifest: RawManifest, client: RegistryClient) -> Manifest | Index | None:
    """Only OCI's manifests have subjects; what cannot be read is none of ours to judge here."""
    if manifest.media_type not in (OCI_MANIFEST, OCI_INDEX) or b'"subject"' not in manifest.data:
        return None
    return parse(manifest.data, manifest.media_type, str(client.endpoint.reference))


def _update(client: RegistryClient, subject: Digest, change: Callable[[Entries], Entries]) -> None:
    tag = fallback_tag(subject)
    with _turn(f"{client.endpoint.host}/{client.endpoint.reference.repository}:{tag}"):
        _change(client, tag, change)


def _turn(name: str) -> threading.Lock:
    with _GUARD:
        return _TURNS.setdefault(name, threading.Lock())


def _change(client: RegistryClient, tag: str, change: Callable[[Entries], Entries]) -> None:
    for attempt in range(limits.REFERRER_UPDATES):
        entries = _entries(client, tag)
        wanted = change(entries)
        if wanted == entries:
            return
        if attempt:
            time.sleep(_PAUSE * attempt * random.uniform(0.5, 1.5))  # noqa: S311 (spreads clients)
            wanted = change(_entries(client, tag))
        _put_index(client, tag, wanted)
    raise Conflict(
        str(client.endpoint.reference),
        f"others change the list of referrers {tag} all the time",
        hint="try again later",
    )


def _entries(client: RegistryClient, tag: str) -> Entries:
    try:
        raw = client.manifest(tag=tag)
    except NotFound:
        return []
    parse(raw.data, raw.media_type, f"{client.endpoint.reference}: {tag}")  # well-formed, and an index
    entries = json.loads(raw.data).get("manifests")
    return entries if isinstance(entries, list) else []


def _put_index(client: RegistryClient, tag: str, entries: Entries) -> None:
    document = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}
    data = json.dumps(document, separators=(",", ":")).encode()
    headers = {"Content-Type": OCI_INDEX, "Content-Length": str(len(data))}
    answer = client.request("PUT", f"manifests/{tag}", headers, data)
    client.expect(answer, (200, 201), f"place for the list of referrers {tag}")
    answer.read_start(ERROR_BODY)
