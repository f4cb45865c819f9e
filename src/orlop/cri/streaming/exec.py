"""One more process in a container, with a client at its streams.

When the client leaves before the end, the process loses its streams (end of file on its input, SIGPIPE on
its output, SIGHUP where it has a terminal) and may go on for [streaming] exec_grace seconds; then it is
killed with what it started. Peers let it run on with nobody there who could ever see it.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import struct
import termios

from orlop.cri.streaming import status
from orlop.cri.streaming.client import Client, Size, Wanted, drained, feed
from orlop.cri.streaming.descriptors import Output, readable, stopped, write_all
from orlop.cri.streaming.link import Gone
from orlop.cri.streaming.workers import Workers
from orlop.kit import limits
from orlop.kit.errors import OrlopError
from orlop.kit.value import dataclass
from orlop.pod.context import Pods
from orlop.pod.exec_container import exec_started
from orlop.runtime.errors import CommandDenied, CommandNotFound
from orlop.runtime.exec import Started

_PIPE = 4 * limits.STREAM_CHUNK  # the fewer turns, the more bytes a second
_DENIED, _ABSENT = 126, 127  # as a shell's
_SETTLING = (0.05, 0.2, 0.5, 1.0)  # a runtime that is just starting may have missed that the size changed


@dataclass(frozen=True)
class Exec:
    """What was asked for."""

    container_id: str
    command: tuple[str, ...]
    wanted: Wanted


async def serve(pods: Pods, workers: Workers, asked: Exec, client: Client, grace: float) -> None:
    """Run it until it ends or the client leaves. Raises Gone."""
    with Ends(asked.wanted) as ends:
        sizes = _Sizes(ends, client)
        try:
            size = await sizes.first()
            started = await workers.made(_start, _discard, pods, asked, ends, size)
        except OrlopError as error:
            await sizes.stop()
            await client.finish(status.failed("executing the command", error))
            return
        except BaseException:
            await sizes.stop()
            raise
        finally:
            ends.close_theirs()
        ends.adopt(started.terminal)
        sizes.begun(started)
        run = _Run(started, ends, client)
        try:
            await run.until_over()
            if run.over.done():
                await _tell(workers, started, run, client)
                return
        except asyncio.CancelledError:
            grace = 0.0
            raise
        finally:
            await sizes.stop()
            await run.let_go()
            ends.close()
            await _end(workers, started, grace)
    raise Gone


def _start(pods: Pods, asked: Exec, ends: Ends, size: Size) -> Started:
    stdin, stdout, stderr = ends.theirs
    return exec_started(
        pods,
        asked.container_id,
        asked.command,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        terminal=asked.wanted.tty,
        size=(size.columns, size.lines),
    )


def _undo(started: Started) -> None:
    started.kill()
    started.close()


def _discard(started: Started) -> None:
    """Of one whose terminal nobody has taken."""
    _undo(started)
    if started.terminal >= 0:
        os.close(started.terminal)


async def _tell(workers: Workers, started: Started, run: _Run, client: Client) -> None:
    """How it ended, behind all that it said. Raises Gone."""
    words = b""
    try:
        outcome = status.exited(await workers.run(started.result))
    except (CommandNotFound, CommandDenied) as error:
        outcome = status.exited(_ABSENT if isinstance(error, CommandNotFound) else _DENIED)
        words = f"{error.cause}\n".encode()
    except OrlopError as error:
        outcome = status.failed("executing the command", error)
    await run.all_said()
    sink = client.stderr or client.stdout
    if words and sink is not None:
        await sink.write(words)
    await client.finish(outcome)


async def _end(workers: Workers, started: Started, grace: float) -> None:
    """Nothing is left of it, whatever happens to us meanwhile."""
    try:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace if grace >= 0 else None):
                await readable(started.fileno())
    finally:
        await workers.run(_undo, started)


class Ends:
    """The streams' descriptors: the process's ends and ours. A terminal is both of ours, once adopted."""

    def __init__(self, wanted: Wanted) -> None:
        self._open: set[int] = set()
        self.tty = wanted.tty
        self.stdin = self.stdout = self.stderr = -1
        self.theirs: tuple[int | None, int | None, int | None] = (None, None, None)
        if wanted.tty:
            return
        child: list[int | None] = [None, None, None]
        if wanted.stdin:
            child[0], self.stdin = self._pipe()
        if wanted.stdout:
            self.stdout, child[1] = self._pipe()
        if wanted.stderr:
            self.stderr, child[2] = self._pipe()
        for ours in (self.stdin, self.stdout, self.stderr):
            if ours >= 0:
                self._kept(ours)
        self.theirs = (child[0], child[1], child[2])

    def __enter__(self) -> Ends:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def adopt(self, terminal: int) -> None:
        """Take the terminal of a process that has begun; -1 where it could not."""
        if terminal >= 0:
            self._open.add(terminal)
            self.stdin = self.stdout = self._kept(terminal)

    def close_theirs(self) -> None:
        for descriptor in {end for end in self.theirs if end is not None}:
            self.shut(descriptor)

    def close(self) -> None:
        for descriptor in list(self._open):
            self.shut(descriptor)

    def shut(self, descriptor: int) -> None:
        """Close one; twice is fine."""
        if descriptor in self._open:
            self._open.discard(descriptor)
            os.close(descriptor)

    def fit(self, size: Size) -> None:
        """Set the terminal's size."""
        if self.stdout in self._open:
            fcntl.ioctl(self.stdout, termios.TIOCSWINSZ, struct.pack("HHHH", size.lines, size.columns, 0, 0))

    def _pipe(self) -> tuple[int, int]:
        pair = os.pipe2(os.O_CLOEXEC)
        self._open.update(pair)
        with contextlib.suppress(OSError):  # beyond what this user may have: the usual size does
            fcntl.fcntl(pair[0], fcntl.F_SETPIPE_SZ, _PIPE)
        return pair

    def _kept(self, descriptor: int) -> int:
        os.set_blocking(descriptor, False)
        return descriptor


class _Run:
    """The tasks around one process. `over` is done when it has ended."""

    def __init__(self, started: Started, ends: Ends, client: Client) -> None:
        self._started, self._ends, self._client = started, ends, client
        self.over = asyncio.ensure_future(readable(started.fileno()))
        self._outputs: list[tuple[Output, asyncio.Task[None]]] = []
        for descriptor, sink in ((ends.stdout, client.stdout), (ends.stderr, client.stderr)):
            if descriptor >= 0 and sink is not None:
                output = Output(descriptor, sink, to_end=ends.tty)
                self._outputs.append((output, asyncio.create_task(self._said(output, descriptor))))
        self._tasks: list[asyncio.Task[None]] = []
        if client.stdin is not None and (ends.stdin >= 0 or not ends.tty):
            self._tasks.append(asyncio.create_task(self._hears()))
        if ends.tty and client.stdout is None and ends.stdout >= 0:
            nobody = Output(ends.stdout, _Nobody(), to_end=True)
            self._outputs.append((nobody, asyncio.create_task(self._said(nobody, ends.stdout))))

    async def until_over(self) -> None:
        """Until the process has ended, or the client left."""
        gone = asyncio.ensure_future(self._client.gone.wait())
        try:
            await asyncio.wait({self.over, gone}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            gone.cancel()

    async def all_said(self) -> None:
        """What the process had written is with the client. Raises Gone."""
        for output, _ in self._outputs:
            output.ended()
        gone = asyncio.ensure_future(self._client.gone.wait())
        try:
            for _, task in self._outputs:
                await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            gone.cancel()
        if not all(task.done() for _, task in self._outputs):
            raise Gone

    async def let_go(self) -> None:
        await stopped(self.over, *self._tasks, *(task for _, task in self._outputs))

    async def _said(self, output: Output, descriptor: int) -> None:
        try:
            await output.run()
        except Gone:
            if not self._ends.tty:
                self._ends.shut(descriptor)  # so that the process hears of it

    async def _hears(self) -> None:
        stdin, source = self._ends.stdin, self._client.stdin
        assert source is not None

        async def put(data: bytes) -> None:
            await write_all(lambda view: os.write(stdin, view), stdin, data)

        taken = await feed(source, put)
        if not self._ends.tty:
            self._ends.shut(stdin)
        if not taken:
            await drained(source)


class _Sizes:
    """The sizes that the client tells, passed on to the terminal; the first as it begins."""

    def __init__(self, ends: Ends, client: Client) -> None:
        self._ends, self._client = ends, client
        self._last: Size | None = None
        self._known = asyncio.Event()
        self._started: Started | None = None
        self._tasks = [asyncio.create_task(self._follow())] if ends.tty else []

    async def first(self) -> Size:
        """Wait a moment for it: clients tell it at once, if at all."""
        if self._tasks:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(limits.STREAM_SIZE):
                    await self._known.wait()
        return self._last or Size(0, 0)

    def begun(self, started: Started) -> None:
        self._started = started
        if self._last is not None:
            self._ends.fit(self._last)
        if self._tasks:
            self._tasks.append(asyncio.create_task(self._settle(started)))

    async def stop(self) -> None:
        await stopped(*self._tasks)

    async def _follow(self) -> None:
        async for size in self._client.sizes():
            self._last = size
            self._ends.fit(size)
            self._known.set()
            if self._started is not None:
                self._started.resized()

    async def _settle(self, started: Started) -> None:
        for pause in _SETTLING:
            await asyncio.sleep(pause)
            started.resized()


class _Nobody:
    """Where output goes that nobody asked for: a terminal must be read."""

    async def write(self, data: bytes) -> None:
        return

    async def close(self) -> None:
        return
