"""SPDY/3.1 frames from bytes and to bytes; no input or output here (the draft's section 2).

A data frame may be 16 MiB: it is passed on in the pieces in which it arrives. A control frame is taken whole,
within limits.SPDY_CONTROL, and its headers unpack to no more than limits.SPDY_HEADERS.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Mapping
from enum import IntEnum

from orlop.cri.streaming.spdy.dictionary import DICTIONARY
from orlop.kit import limits
from orlop.kit.value import dataclass

_VERSION = 3
_CONTROL = 0x80000000
_FIN = 0x01
_HEAD = 8
_WORD = struct.Struct("!I")
_PAIR = struct.Struct("!II")
_SYN_STREAM, _SYN_REPLY, _RST_STREAM, _SETTINGS, _PING, _GOAWAY, _HEADERS, _WINDOW_UPDATE = (
    1,
    2,
    3,
    4,
    6,
    7,
    8,
    9,
)
INITIAL_WINDOW = 64 * limits.KIB
MAX_WINDOW = 0x7FFFFFFF
_INITIAL_WINDOW_SIZE = 7  # of SETTINGS


class Status(IntEnum):
    """Why a stream was reset."""

    PROTOCOL_ERROR = 1
    INVALID_STREAM = 2
    REFUSED_STREAM = 3
    CANCEL = 5
    INTERNAL_ERROR = 6
    FLOW_CONTROL_ERROR = 7


class Malformed(Exception):
    """What came is not SPDY, or beyond its bounds: the connection is of no more use."""


@dataclass(frozen=True)
class Syn:
    """A new stream, named by the other side."""

    stream: int
    headers: Mapping[str, str]
    fin: bool


@dataclass(frozen=True)
class Reply:
    """SYN_REPLY or HEADERS."""

    stream: int
    headers: Mapping[str, str]
    fin: bool


@dataclass(frozen=True)
class Data:
    """A piece of a data frame; `fin` only with its last."""

    stream: int
    data: bytes
    fin: bool


@dataclass(frozen=True)
class Reset:
    stream: int
    status: int


@dataclass(frozen=True)
class Settings:
    """`window` is the initial window of streams, where it was set."""

    window: int | None


@dataclass(frozen=True)
class Ping:
    number: int


@dataclass(frozen=True)
class GoAway:
    last: int
    status: int


@dataclass(frozen=True)
class WindowUpdate:
    stream: int
    delta: int


Frame = Syn | Reply | Data | Reset | Settings | Ping | GoAway | WindowUpdate


class Parser:
    """Bytes in, frames out. After Malformed it is of no more use."""

    def __init__(self) -> None:
        self._pending = bytearray()
        self._inflate = zlib.decompressobj(zdict=DICTIONARY)
        self._stream = 0  # of the data frame that is under way
        self._left = 0
        self._fin = False

    def feed(self, data: bytes) -> Iterator[Frame]:
        """The frames that are complete with this. Raises Malformed."""
        self._pending += data
        while True:
            if self._left:
                piece = self._piece()
                if piece is None:
                    return
                yield piece
                continue
            if len(self._pending) < _HEAD:
                return
            first, second = _PAIR.unpack_from(self._pending)
            flags, length = second >> 24, second & 0xFFFFFF
            if not first & _CONTROL:
                del self._pending[:_HEAD]
                self._stream, self._left, self._fin = first, length, bool(flags & _FIN)
                if not length:
                    yield Data(first, b"", self._fin)
                continue
            if length > limits.SPDY_CONTROL:
                raise Malformed(f"a control frame of {length} bytes")
            if len(self._pending) < _HEAD + length:
                return
            payload = bytes(self._pending[_HEAD : _HEAD + length])
            del self._pending[: _HEAD + length]
            frame = self._control(first, flags, payload)
            if frame is not None:
                yield frame

    def _piece(self) -> Data | None:
        if not self._pending:
            return None
        if len(self._pending) <= self._left:
            data, self._pending = bytes(self._pending), bytearray()
        else:
            data = bytes(self._pending[: self._left])
            del self._pending[: self._left]
        self._left -= len(data)
        return Data(self._stream, data, self._fin and not self._left)

    def _control(self, first: int, flags: int, payload: bytes) -> Frame | None:
        version, kind = (first >> 16) & 0x7FFF, first & 0xFFFF
        if version != _VERSION:
            raise Malformed(f"version {version}")
        try:
            return self._decode(kind, bool(flags & _FIN), payload)
        except struct.error as error:
            raise Malformed(f"a control frame of type {kind} that is too short") from error

    def _decode(self, kind: int, fin: bool, payload: bytes) -> Frame | None:
        if kind == _SYN_STREAM:
            (stream,) = _WORD.unpack_from(payload)
            return Syn(stream & MAX_WINDOW, self._headers(payload[10:]), fin)
        if kind in (_SYN_REPLY, _HEADERS):
            (stream,) = _WORD.unpack_from(payload)
            return Reply(stream & MAX_WINDOW, self._headers(payload[4:]), fin)
        if kind == _SETTINGS:
            return Settings(_initial_window(payload))
        if kind == _PING:
            return Ping(*_WORD.unpack_from(payload))
        if kind == _RST_STREAM:
            stream, status = _PAIR.unpack_from(payload)
            return Reset(stream & MAX_WINDOW, status)
        if kind == _GOAWAY:
            last, status = _PAIR.unpack_from(payload)
            return GoAway(last & MAX_WINDOW, status)
        if kind == _WINDOW_UPDATE:
            stream, delta = _PAIR.unpack_from(payload)
            return WindowUpdate(stream & MAX_WINDOW, delta & MAX_WINDOW)
        return None  # "must be ignored"

    def _headers(self, packed: bytes) -> dict[str, str]:
        """All header blocks of a connection are one zlib stream."""
        try:
            block = self._inflate.decompress(packed, limits.SPDY_HEADERS)
        except zlib.error as error:
            raise Malformed(f"headers: {error}") from error
        if self._inflate.unconsumed_tail or self._inflate.eof:
            raise Malformed("headers beyond all bounds")
        return _unpacked(block)


def _initial_window(payload: bytes) -> int | None:
    (count,) = _WORD.unpack_from(payload)
    if len(payload) != 4 + 8 * count:
        raise Malformed("settings of the wrong length")
    found = None
    for place in range(4, len(payload), 8):
        identifier, value = _PAIR.unpack_from(payload, place)
        if identifier & 0xFFFFFF == _INITIAL_WINDOW_SIZE:
            if value > MAX_WINDOW:
                raise Malformed(f"a window of {value} bytes")
            found = value
    return found


def _unpacked(block: bytes) -> dict[str, str]:
    """Names in lower case and their values; of a value of several parts the first."""
    headers: dict[str, str] = {}
    (count,) = _WORD.unpack_from(block)
    place = 4
    for _ in range(count):
        name, place = _text(block, place)
        value, place = _text(block, place)
        headers.setdefault(name.lower(), value.partition("\0")[0])
    return headers


def _text(block: bytes, place: int) -> tuple[str, int]:
    (length,) = _WORD.unpack_from(block, place)
    end = place + 4 + length
    if end > len(block):
        raise Malformed("a header longer than its block")
    return block[place + 4 : end].decode("latin-1"), end


class Encoder:
    """Frames to bytes, for one connection."""

    def __init__(self) -> None:
        self._deflate = zlib.compressobj(level=1, zdict=DICTIONARY)

    def syn(self, stream: int, headers: Mapping[str, str], *, fin: bool = False) -> bytes:
        packed = self._headers(headers)
        return _control(_SYN_STREAM, _PAIR.pack(stream, 0) + b"\0\0" + packed, fin)

    def reply(self, stream: int, headers: Mapping[str, str], *, fin: bool = False) -> bytes:
        return _control(_SYN_REPLY, _WORD.pack(stream) + self._headers(headers), fin)

    def _headers(self, headers: Mapping[str, str]) -> bytes:
        block = bytearray(_WORD.pack(len(headers)))
        for text in (text for pair in headers.items() for text in pair):
            raw = text.encode("latin-1", errors="replace")
            block += _WORD.pack(len(raw)) + raw
        return self._deflate.compress(block) + self._deflate.flush(zlib.Z_SYNC_FLUSH)


def data_head(stream: int, length: int, *, fin: bool = False) -> bytes:
    """What stands before `length` bytes of data, less than 16 MiB."""
    return _PAIR.pack(stream, (_FIN << 24 if fin else 0) | length)


def reset(stream: int, status: int) -> bytes:
    return _control(_RST_STREAM, _PAIR.pack(stream, status))


def settings(window: int) -> bytes:
    return _control(_SETTINGS, _WORD.pack(1) + _PAIR.pack(_INITIAL_WINDOW_SIZE, window))


def ping(number: int) -> bytes:
    return _control(_PING, _WORD.pack(number))


def go_away(last: int, status: int = 0) -> bytes:
    return _control(_GOAWAY, _PAIR.pack(last, status))


def window_update(stream: int, delta: int) -> bytes:
    return _control(_WINDOW_UPDATE, _PAIR.pack(stream, delta))


def _control(kind: int, payload: bytes, fin: bool = False) -> bytes:
    return _PAIR.pack(_CONTROL | _VERSION << 16 | kind, (_FIN << 24 if fin else 0) | len(payload)) + payload
