"""What is signed: containers-signature(5), "JSON data format"; cosign's payload is the same but for its type.

Strict where it counts: `critical` has exactly the known members, and nothing stands twice.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from orlop.image import documents
from orlop.image.digest import Digest
from orlop.image.signature.model import BadSignature
from orlop.kit import limits
from orlop.kit.errors import OrlopError
from orlop.kit.value import dataclass

ATOMIC = "atomic container signature"
COSIGN = "cosign container image signature"


@dataclass(frozen=True)
class Payload:
    """`reference` as it is claimed, not normalised."""

    digest: Digest
    reference: str
    optional: Mapping[str, Any]


def read(data: bytes, kind: str) -> Payload:
    """Raises BadSignature for everything that is not exactly a payload of this kind."""
    if len(data) > limits.SIGNATURE_SIZE:
        raise BadSignature(f"its payload is longer than {limits.SIGNATURE_SIZE} bytes")
    try:
        document = documents.read_object(data, "payload")
    except OrlopError as error:
        raise BadSignature(f"its payload {error.cause}") from None
    _exactly(document, ("critical", "optional"), "payload")
    critical = _object(document, "critical")
    _exactly(critical, ("type", "image", "identity"), "critical")
    if critical["type"] != kind:
        raise BadSignature(f"its payload is of type {str(critical['type'])[:60]!r}, not {kind!r}")
    image, identity = _object(critical, "image"), _object(critical, "identity")
    _exactly(image, ("docker-manifest-digest",), "critical.image")
    _exactly(identity, ("docker-reference",), "critical.identity")
    reference = identity["docker-reference"]
    if not isinstance(reference, str):
        raise BadSignature("its payload names the image by something that is no string")
    try:
        digest = Digest(str(image["docker-manifest-digest"]))
    except OrlopError as error:
        raise BadSignature(f"its payload: {error}") from None
    return Payload(digest, reference, _optional(document.get("optional")))


def make(digest: Digest, reference: str, kind: str, optional: Mapping[str, Any] | None = None) -> bytes:
    critical = {
        "identity": {"docker-reference": reference},
        "image": {"docker-manifest-digest": str(digest)},
        "type": kind,
    }
    document = {"critical": critical, "optional": dict(optional) if optional else None}
    if kind == ATOMIC and not optional:
        document["optional"] = {}
    return json.dumps(document, separators=(",", ":"), sort_keys=True).encode()


def _optional(value: object) -> Mapping[str, Any]:
    """Whatever is in it decides nothing; `creator` and `timestamp` have their types nevertheless."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise BadSignature("its payload's `optional` is not an object")
    if not isinstance(value.get("creator", ""), str):
        raise BadSignature("its payload's `creator` is not a string")
    stamp = value.get("timestamp", 0)
    if type(stamp) is not int and not (isinstance(stamp, float) and stamp.is_integer()):
        raise BadSignature("its payload's `timestamp` is not a whole number")
    return value


def _object(document: dict[str, Any], key: str) -> dict[str, Any]:
    value = document[key]
    if not isinstance(value, dict):
        raise BadSignature(f"its payload's `{key}` is not an object")
    return value


def _exactly(document: dict[str, Any], keys: tuple[str, ...], where: str) -> None:
    if unknown := [key for key in document if key not in keys]:
        raise BadSignature(f"its {where} has an unknown member: {unknown[0][:60]!r}")
    if lacking := [key for key in keys if key not in document]:
        raise BadSignature(f"its {where} lacks {lacking[0]!r}")
