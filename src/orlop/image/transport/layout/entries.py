"""index.json of an OCI image layout (image-layout.md): which image a reference means; changes."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from orlop.image import documents, manifest
from orlop.image.digest import Digest
from orlop.image.manifest import Descriptor, Index
from orlop.kit import limits
from orlop.kit.errors import Corrupt, InvalidInput, LimitExceeded, NotFound

NAME = "org.opencontainers.image.ref.name"
INDEX = "index.json"
LAYOUT = "oci-layout"
LAYOUT_TEXT = b'{"imageLayoutVersion":"1.0.0"}'
_ATTACHED = re.compile(r"sha(256|512)-[0-9a-f]{64,128}(\.(sig|att|sbom))?")
_NAMES_TOLD = 10
_EMPTY = 4 * limits.KIB  # an index without images is shorter
Reading = Callable[[Digest], bytes]


def read_layout(data: bytes, subject: str) -> None:
    """Raises Corrupt where `data` is no oci-layout file of a version that is read here."""
    version = documents.text(
        documents.read_object(data, f"{subject}: {LAYOUT}"), "imageLayoutVersion", subject
    )
    if version.partition(".")[0] != "1":
        raise Corrupt(
            f"{subject}: {LAYOUT}",
            f"is of version {version[:40]!r}, 1.x is read here",
            hint="see what wrote this layout",
        )


def read_index(data: bytes, subject: str) -> Index:
    """index.json; `umoci init` writes null for no images. Raises Corrupt, LimitExceeded."""
    if len(data) < _EMPTY and documents.read_object(data, f"{subject}: {INDEX}").get("manifests", 0) is None:
        return Index(manifest.OCI_INDEX, ())
    found = manifest.parse(data, manifest.OCI_INDEX, f"{subject}: {INDEX}")
    if not isinstance(found, Index):
        raise documents.malformed(f"{subject}: {INDEX}", "is no index")
    return found


def choose(index: Index, reference: str, read: Reading, subject: str) -> Descriptor:
    """The entry that `reference` means: a name, `@DIGEST`, `@N` (the N-th entry, from 0), "" the only image.

    Raises NotFound, InvalidInput (several images and no reference).
    """
    if reference.startswith("@"):
        return _numbered(index, reference[1:], subject)
    if not reference:
        return _only(index, read, subject)
    for entry in _named(index, reference):
        return entry
    for entry in walk(index, read, subject):  # names within nested indexes: some tools write them there
        if entry.annotations.get(NAME) == reference:
            return entry
    raise NotFound(f"{subject}:{reference}", "no image of this name", hint=_told(index))


def walk(index: Index, read: Reading, subject: str) -> Iterator[Descriptor]:
    """Every descriptor of the index and of those below it, limits.INDEX_DEPTH deep, each digest once."""
    level = list(index.manifests)
    seen: set[Digest] = set()
    taken = 0
    for _ in range(limits.INDEX_DEPTH):
        below: list[Descriptor] = []
        for entry in level:
            taken += 1
            if taken > limits.LAYOUT_ENTRIES:
                raise LimitExceeded(
                    subject,
                    f"has more than {limits.LAYOUT_ENTRIES} entries",
                    hint="name the image with its digest",
                )
            yield entry
            if entry.media_type not in manifest.INDEXES or entry.digest in seen:
                continue
            seen.add(entry.digest)
            try:
                parsed = manifest.parse(read(entry.digest), entry.media_type, subject)
            except NotFound:  # a layout may lack what it names (sparse copies)
                continue
            if isinstance(parsed, Index):
                below += parsed.manifests
        level = below


def is_attachment(entry: Descriptor) -> bool:
    """By its name or type: a signature, an attestation, a list of referrers."""
    return bool(entry.artifact_type) or is_attachment_name(entry.annotations.get(NAME, ""))


def is_attachment_name(name: str) -> bool:
    """cosign's tags, and those of lists of referrers (distribution-spec 1.1, "Referrers Tag Schema")."""
    return _ATTACHED.fullmatch(name) is not None


def _named(index: Index, name: str) -> list[Descriptor]:
    return [entry for entry in index.manifests if entry.annotations.get(NAME) == name]


def _numbered(index: Index, text: str, subject: str) -> Descriptor:
    if text.isascii() and text.isdigit() and len(text) < 10:
        if int(text) < len(index.manifests):
            return index.manifests[int(text)]
    else:
        wanted = Digest(text)
        for entry in index.manifests:
            if entry.digest == wanted:
                return entry
    raise NotFound(f"{subject}:@{text}", "no such entry", hint=_told(index))


def _only(index: Index, read: Reading, subject: str) -> Descriptor:
    """The only entry that is no attachment, else the only one without a name, else the only one at all."""
    images = [entry for entry in index.manifests if not is_attachment(entry)]
    each = {entry.digest: entry for entry in images}
    if len(each) > 1:
        refers = {digest for digest, entry in each.items() if _has_subject(entry, read, subject)}
        images = [entry for entry in images if entry.digest not in refers]
    unnamed = [entry for entry in images if NAME not in entry.annotations]
    for candidates in (images, unnamed, list(index.manifests)):
        if len({entry.digest for entry in candidates}) == 1:
            return candidates[0]
    if not index.manifests:
        raise NotFound(subject, "holds no image", hint="copy one into it")
    raise InvalidInput(subject, f"holds {len(index.manifests)} images", hint=_told(index))


def _has_subject(entry: Descriptor, read: Reading, subject: str) -> bool:
    try:
        return manifest.parse(read(entry.digest), entry.media_type, subject).subject is not None
    except NotFound:
        return False


def _told(index: Index) -> str:
    names = [entry.annotations.get(NAME, f"@{entry.digest}") for entry in index.manifests]
    more = ", ..." if len(names) > _NAMES_TOLD else ""
    return f"name one of: {', '.join(names[:_NAMES_TOLD])}{more}" if names else "it holds none"


@dataclass(frozen=True)
class Put:
    """An entry to be made: `name` is "" for none (an unnamed image, a referrer)."""

    name: str
    descriptor: Mapping[str, Any]


def entry_of(data: bytes, media_type: str, digest: Digest, *, name: str = "") -> Put:
    """The descriptor of a manifest as index.json lists it.

    A referrer's has its artifact type and annotations, as distribution-spec 1.1 lists referrers.
    """
    parsed = manifest.parse(data, media_type, str(digest))
    entry: dict[str, Any] = {"mediaType": parsed.media_type, "digest": str(digest), "size": len(data)}
    annotations: dict[str, str] = {}
    if parsed.subject is not None:
        entry["artifactType"] = artifact_type(parsed)
        annotations.update(parsed.annotations)
        annotations.pop(NAME, None)
    if name:
        annotations[NAME] = name
    if annotations:
        entry["annotations"] = annotations
    return Put(name, {key: value for key, value in entry.items() if value != ""})


def artifact_type(parsed: manifest.Manifest | Index) -> str:
    """As distribution-spec 1.1 has it: of a manifest without one, its config's media type."""
    if parsed.artifact_type or isinstance(parsed, Index):
        return parsed.artifact_type
    return parsed.config.media_type


def edited(data: bytes | None, puts: list[Put], subject: str, *, replace_unnamed: bool) -> bytes:
    """index.json with `puts` in it; all else (annotations, entries, unknown keys) stays as it was.

    A name leads to one entry. `replace_unnamed`: images without a name go, referrers stay.
    """
    document: dict[str, Any] = {"schemaVersion": 2, "mediaType": manifest.OCI_INDEX, "manifests": []}
    if data is not None:
        read_index(data, subject)
        document = documents.read_object(data, subject)
    names = {put.name for put in puts if put.name}
    digests = {put.descriptor["digest"] for put in puts if not put.name}
    kept = []
    for entry in document["manifests"] or ():
        name = (entry.get("annotations") or {}).get(NAME, "")
        if name in names or (not name and entry["digest"] in digests):
            continue
        if not name and replace_unnamed and not entry.get("artifactType"):
            continue
        kept.append(entry)
    document["manifests"] = [*kept, *(dict(put.descriptor) for put in puts)]
    text = json.dumps(document, indent=2, ensure_ascii=False).encode()
    if len(text) > limits.MANIFEST_SIZE:
        raise LimitExceeded(
            f"{subject}: {INDEX}", "has no room for one more image", hint="begin another layout"
        )
    return text
