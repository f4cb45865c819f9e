"""What a client may write in a path: names, tags, digests (distribution-spec 1.1, "Pulling manifests").

A path is taken apart from its end, so a repository may be called `a/blobs/manifests`. What leaves here has
only the characters of the specification's expressions, whatever the client encoded.
"""

from __future__ import annotations

import re
import urllib.parse
from http import HTTPStatus

from orlop.image.digest import Digest
from orlop.kit import limits
from orlop.kit.errors import InvalidInput
from orlop.kit.value import dataclass, field
from orlop.registry.errors import Refused

_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_NAME = re.compile(rf"{_PART}(?:/{_PART})*")
_TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}")
_UPLOAD = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(frozen=True)
class Route:
    """`kind` is base, catalog, blob, manifest, tags, referrers, uploads or upload; `item` its last part."""

    kind: str
    repository: str = ""
    item: str = ""
    query: dict[str, list[str]] = field(default_factory=dict)

    def value(self, name: str) -> str | None:
        """The query's first of this name."""
        return next(iter(self.query.get(name, ())), None)


def route(target: str) -> Route:
    """Where a request leads. Raises Refused (404, NAME_INVALID)."""
    path, _, text = target.partition("?")
    try:
        query = urllib.parse.parse_qs(text, keep_blank_values=True, max_num_fields=4 * limits.REGISTRY_TAGS)
    except ValueError as error:
        raise Refused("UNSUPPORTED", "too many parameters", status=HTTPStatus.REQUEST_URI_TOO_LONG) from error
    parts = [urllib.parse.unquote(part, errors="replace") for part in path.split("/")]
    if parts[:2] != ["", "v2"]:
        raise nowhere()
    kind, name, item = _split(parts[2:])
    if kind in ("base", "catalog"):
        return Route(kind, query=query)
    return Route(kind, repository(name), item, query)


def _split(parts: list[str]) -> tuple[str, str, str]:
    if parts in ([], [""]):
        return "base", "", ""
    if parts == ["_catalog"]:
        return "catalog", "", ""
    end = parts[-3:]
    if end[:2] == ["blobs", "uploads"] and len(parts) > 3:
        return ("upload" if end[2] else "uploads"), "/".join(parts[:-3]), end[2]
    if parts[-2:] == ["blobs", "uploads"]:
        return "uploads", "/".join(parts[:-2]), ""
    if parts[-2:] == ["tags", "list"]:
        return "tags", "/".join(parts[:-2]), ""
    kind = {"blobs": "blob", "manifests": "manifest", "referrers": "referrers"}.get("".join(parts[-2:-1]))
    if kind is None:
        raise nowhere()
    return kind, "/".join(parts[:-2]), parts[-1]


def repository(text: str) -> str:
    """Raises Refused (NAME_INVALID)."""
    if len(text) > limits.REGISTRY_NAME or not _NAME.fullmatch(text):
        raise Refused("NAME_INVALID", "not a repository's name", details=({"name": text[:100]},))
    return text


def is_repository(text: str) -> bool:
    return len(text) <= limits.REGISTRY_NAME and _NAME.fullmatch(text) is not None


def is_tag(text: str) -> bool:
    return _TAG.fullmatch(text) is not None


def is_upload(text: str) -> bool:
    return _UPLOAD.fullmatch(text) is not None


def digest(text: str) -> Digest:
    """Raises Refused (DIGEST_INVALID), also for an algorithm that is not known here."""
    try:
        return Digest(text)
    except InvalidInput as error:
        raise Refused("DIGEST_INVALID", error.cause, details=({"digest": text[:200]},)) from error


def nowhere() -> Refused:
    return Refused("UNSUPPORTED", "no such page", status=HTTPStatus.NOT_FOUND)
