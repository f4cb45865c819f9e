"""The multiplexer: several connections, called by number, over one socket.

A frame is 4 bytes of the connection's number, 4 bytes of length (both big-endian) and so many bytes. There is
no flow control, no opening and no closing: frames for a connection that one does not know are dropped.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable, Mapping

from orlop.cri.nri.errors import Broken
from orlop.kit import limits

PLUGIN_SERVICE = 1  # the runtime calls, the plugin answers
RUNTIME_SERVICE = 2  # the other way round

_HEADER = struct.Struct("!II")
_MOST = limits.NRI_MESSAGE + 10  # a whole ttrpc message


class Mux:
    """One end of the socket. Used on the loop only."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def receive(self, receivers: Mapping[int, Callable[[bytes], None]]) -> None:
        """Hand what comes to the receiver of its connection until the socket ends. Raises Broken."""
        while True:
            try:
                number, length = _HEADER.unpack(await self._reader.readexactly(_HEADER.size))
                if length > _MOST:
                    raise Broken(f"a frame of {length} bytes")
                data = await self._reader.readexactly(length)
            except asyncio.IncompleteReadError as error:
                if error.partial:
                    raise Broken("the connection ended within a frame") from error
                return
            except OSError as error:
                raise Broken(str(error)) from error
            receiver = receivers.get(number)
            if receiver is not None:
                receiver(data)

    async def send(self, number: int, *pieces: bytes) -> None:
        """A frame for each piece, together; waits while the other side does not read. Raises Broken."""
        if self._writer.is_closing():
            raise Broken("the connection is closed")
        for piece in pieces:
            self._writer.write(_HEADER.pack(number, len(piece)) + piece)
        try:
            await self._writer.drain()
        except OSError as error:
            raise Broken(str(error)) from error

    def close(self) -> None:
        """At once, whatever is still to be sent."""
        self._writer.transport.abort()
