"""What every structure of the wire shares."""

from __future__ import annotations

import threading
from typing import Any, TypeVar

import msgspec

from orlop.kit.errors import Corrupt
from orlop.system.kube.quantity import Quantity

__all__ = ["Wire", "from_json", "to_json"]


class Wire(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True, omit_defaults=True
):
    """A structure of the Kubernetes API: its honoured fields, with the API's defaults."""


W = TypeVar("W", bound=Wire)

# msgspec looks into a type when it first decodes one, and two threads that do so at once end the process.
_looking = threading.Lock()
_decoders: dict[type, msgspec.json.Decoder[Any]] = {}


def to_json(value: Wire) -> bytes:
    """The value as JSON, fields in order, defaults left out: equal values give equal bytes."""
    return msgspec.json.encode(value, enc_hook=_encode, order="deterministic")


def from_json(data: bytes, kind: type[W]) -> W:
    """What `to_json` wrote. Raises Corrupt where it is something else."""
    try:
        found: W = _decoder(kind).decode(data)
    except msgspec.MsgspecError as error:
        raise Corrupt(kind.__name__, str(error), hint="play its file again") from error
    return found


def _decoder(kind: type[Wire]) -> msgspec.json.Decoder[Any]:
    with _looking:
        if kind not in _decoders:
            _decoders[kind] = msgspec.json.Decoder(kind, dec_hook=decode_hook)
        return _decoders[kind]


def _encode(value: object) -> object:
    if isinstance(value, Quantity):
        return str(value)
    raise TypeError(type(value).__name__)


def decode_hook(kind: type, value: object) -> object:
    """msgspec's hook: a quantity may be written as a number or as text."""
    if kind is Quantity and isinstance(value, str | int | float) and not isinstance(value, bool):
        return Quantity.parse(str(value))
    raise TypeError(kind.__name__)
