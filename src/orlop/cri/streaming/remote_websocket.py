"""A client that opens an exec or attach by WebSocket: channels 0 to 4 are input, output, error, how it ended
and the terminal's size. The fifth protocol can end the input, the fourth brought the exit code.
"""

from __future__ import annotations

from orlop.cri.streaming.client import Client, Wanted
from orlop.cri.streaming.status import Outcome
from orlop.cri.streaming.websocket import Channels, WebSocket

PROTOCOLS = (
    "v5.channel.k8s.io",
    "v4.channel.k8s.io",
    "v4.base64.channel.k8s.io",
    "channel.k8s.io",
    "base64.channel.k8s.io",
)


class Opening:
    """A WebSocket as an exec's or attach's client."""

    def __init__(self, socket: WebSocket, protocol: str, wanted: Wanted) -> None:
        self.channels = Channels(socket, protocol, (wanted.stdin, False, False, False, wanted.tty))
        self._protocol, self._wanted = protocol, wanted

    async def client(self) -> Client:
        """Tells the client that it may begin, by an empty message. Raises Gone."""
        stdin, stdout, stderr, error, resize = self.channels.channels
        wanted = self._wanted
        await (stdout if wanted.stdout else stderr if wanted.stderr else error).write(b"")
        return Client(
            self.channels.gone,
            self._finish,
            stdin=stdin if wanted.stdin else None,
            stdout=stdout if wanted.stdout else None,
            stderr=stderr if wanted.stderr else None,
            resize=resize if wanted.tty else None,
        )

    async def _finish(self, outcome: Outcome) -> None:
        words = outcome.as_json() if self._protocol.startswith(("v4.", "v5.")) else outcome.message.encode()
        if words:
            await self.channels.channels[3].write(words)
        await self.channels.socket.close()
