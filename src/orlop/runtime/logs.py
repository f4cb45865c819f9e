"""A container's log: read, followed through rotation, rotated (Kubernetes' CRI logging format).

    2026-11-21T12:00:00.000000000+00:00 stdout F a whole line
    2026-11-21T12:00:00.000000000+00:00 stdout P the first part of a long one

Older parts are PATH.1 (the newest of them), PATH.2 and so on.
"""

from __future__ import annotations

import contextlib
import ctypes
import datetime as dt
import errno
import os
import select
import stat

from orlop.kit import limits
from orlop.kit.errors import InvalidInput
from orlop.kit.value import dataclass

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_BLOCK = 64 * limits.KIB
_LONGEST = 1 * limits.MIB  # of a joined line; a longer one comes in parts
_ALIVE = 1000  # milliseconds between two looks at whether the container still lives
# IN_MODIFY, IN_CLOSE_WRITE, IN_MOVED_FROM, IN_MOVED_TO, IN_CREATE, IN_DELETE
_EVENTS = 0x2 | 0x8 | 0x40 | 0x80 | 0x100 | 0x200


@dataclass(frozen=True)
class LogRecord:
    """One line without its end; `partial` ones go on in the next record of the stream.

    `time` in seconds since the epoch, `stamp` as written (nanoseconds); 0 and "" where a line has none.
    """

    time: float
    stream: str  # stdout | stderr
    partial: bool
    data: bytes
    stamp: str = ""


def read(
    path: str,
    *,
    tail: int | None = None,
    since: float | None = None,
    follow: bool = False,
    ended: Callable[[], bool] = lambda: False,
) -> Iterator[LogRecord]:
    """The log's records, oldest first, parts joined; an absent log has none.

    `tail`: the last so many lines (found from the end). `since`: seconds since the epoch. `follow`: go on
    with what is written until `ended` says so, through rotations. Raises InvalidInput where the log is no
    regular file.
    """
    joined = _Joined()
    for line in _lines(path, tail, follow, ended):
        for record in joined.add(parse(line)):
            if since is None or record.time >= since:
                yield record
    for record in joined.rest():
        if since is None or record.time >= since:
            yield record


def parse(line: bytes) -> LogRecord:
    """One line of the format; what is not in the format counts as output without a time."""
    parts = line.split(b" ", 3)
    if len(parts) < 4 or parts[1] not in (b"stdout", b"stderr"):
        return LogRecord(0.0, "stdout", False, line)
    stamp = parts[0].decode(errors="replace")
    tags = parts[2].split(b":")
    try:
        moment = dt.datetime.fromisoformat(stamp).timestamp()
    except (ValueError, OverflowError):
        return LogRecord(0.0, "stdout", False, line)
    return LogRecord(moment, parts[1].decode(), b"P" in tags, parts[3], stamp)


def rotate(path: str, max_files: int, *, reopen: Callable[[], None]) -> None:
    """PATH becomes PATH.1, PATH.1 becomes PATH.2, ...; `reopen` makes the writer begin PATH anew.

    At most `max_files` are kept, PATH included. Nothing is lost between: the writer goes on in the renamed
    file until it reopens. Repeated after a crash it goes on where it was. One rotation at a time: a lock on
    the folder.
    """
    if max_files < 1:
        raise InvalidInput(f"log {path}", f"{max_files} files are too few to keep", hint="keep one or more")
    with _names_held(path):
        present = [number for number in _numbers(path) if number]
        if os.path.lexists(path):
            for number in sorted(present, reverse=True):
                os.rename(_name(path, number), _name(path, number + 1))
            os.rename(path, _name(path, 1))
            present = [1, *(number + 1 for number in present)]
        reopen()
        for number in present:
            if number >= max_files:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(_name(path, number))


@contextlib.contextmanager
def _names_held(path: str, *, shared: bool = False) -> Iterator[None]:
    """No rotation meanwhile by anybody else: a lock on the log's folder, if there is one."""
    import fcntl

    try:
        folder = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        yield
        return
    try:
        fcntl.flock(folder, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def remove(path: str) -> None:
    """The log and its older parts; absent ones are fine."""
    for number in _numbers(path):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(_name(path, number))


class _Joined:
    """Parts of long lines, put together for each stream by itself."""

    def __init__(self) -> None:
        self._open: dict[str, LogRecord] = {}

    def add(self, record: LogRecord) -> list[LogRecord]:
        begun = self._open.pop(record.stream, None)
        if begun is not None:
            record = LogRecord(
                begun.time, record.stream, record.partial, begun.data + record.data, begun.stamp
            )
        if record.partial and len(record.data) < _LONGEST:
            self._open[record.stream] = record
            return []
        return [record]

    def rest(self) -> list[LogRecord]:
        return sorted(self._open.values(), key=lambda record: record.time)


def _lines(path: str, tail: int | None, follow: bool, ended: Callable[[], bool]) -> Iterator[bytes]:
    opened = _Opened(path)
    try:
        if tail is None:
            opened.all()
        else:
            opened.last(tail)
        watch = _watch(os.path.dirname(path)) if follow else -1
        try:
            while True:
                # The order matters: what was written before the end is read after it is known.
                living = follow and not ended()
                yield from opened.lines()
                if not living:
                    return
                _wait(watch)
        finally:
            if watch >= 0:
                os.close(watch)
    finally:
        opened.close()


class _Opened:
    """The files of a log, oldest first, open; followed by inode, so that renaming changes nothing."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._files: list[_File] = []
        self._last = (0, 0)
        self._new()

    def all(self) -> None:
        for file in self._files:
            file.offset = 0

    def last(self, count: int) -> None:
        """Stand before the last `count` lines."""
        for file in reversed(self._files):
            count = file.back(count)

    def lines(self) -> Iterator[bytes]:
        """Everything that is there now."""
        while True:
            for file in self._files:
                yield from file.lines()
            for file in self._files[:-1]:
                file.close()
            self._files = self._files[-1:]
            if not self._new():
                return
            # The old file may have grown between its end and its rotation: it is first in the list again.

    def close(self) -> None:
        for file in self._files:
            file.close()
        self._files = []

    def _new(self) -> bool:
        """Open the files that are newer than the newest one we have; whether there are any."""
        with _names_held(self._path, shared=True):  # or a file could be met under two names, and read twice
            found = self._newer()
        found.reverse()
        if not found:
            return False
        self._files += found
        self._last = found[-1].inode
        return True

    def _newer(self) -> list[_File]:
        """Newest first."""
        found: list[_File] = []
        for number in _numbers(self._path):
            file = _File.opened(_name(self._path, number))
            if file is None:
                continue
            if file.inode == self._last:
                file.close()
                break
            found.append(file)
        return found


class _File:
    def __init__(self, descriptor: int, inode: tuple[int, int]) -> None:
        self.descriptor = descriptor
        self.inode = inode
        self.offset = 0

    @classmethod
    def opened(cls, path: str) -> _File | None:
        """None where it is absent. Raises InvalidInput where it is no regular file: its place is hostile."""
        try:
            descriptor = os.open(
                path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
            )
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno not in (errno.ELOOP, errno.ENXIO, errno.EACCES):
                raise
            raise InvalidInput(f"log {path}", "is no regular file", hint="see who put it there") from error
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            os.close(descriptor)
            raise InvalidInput(f"log {path}", "is no regular file", hint="see who put it there")
        return cls(descriptor, (status.st_dev, status.st_ino))

    def lines(self) -> Iterator[bytes]:
        """The whole lines from `offset` on; a line that is being written is left for later."""
        if os.fstat(self.descriptor).st_size < self.offset:
            self.offset = 0  # begun anew in place
        pending = b""
        while data := os.pread(self.descriptor, _BLOCK, self.offset + len(pending)):
            pending += data
            *whole, pending = pending.split(b"\n")
            for line in whole:
                self.offset += len(line) + 1
                yield line
            if len(pending) > _LONGEST:
                self.offset += len(pending)
                yield pending
                pending = b""

    def back(self, count: int) -> int:
        """Stand before the last `count` lines of this file; how many are still missing."""
        end = os.fstat(self.descriptor).st_size
        self.offset = end
        text, first = b"", True
        while count > 0 and end > 0:
            size = min(_BLOCK, end)
            end -= size
            text = os.pread(self.descriptor, size, end) + text
            while count >= 0 and b"\n" in text[:-1]:
                line_start = text.rindex(b"\n", 0, len(text) - 1) + 1
                if _ends_line(text[line_start:]) or first:
                    if count == 0:
                        return 0
                    count -= 1
                first = False
                self.offset = end + line_start
                text = text[:line_start]
            if count < 0:
                return 0
        if count == 0 and end == 0 and not text:
            return 0
        if end == 0 and text:
            if _ends_line(text) or first:
                if count == 0:
                    return 0
                count -= 1
            self.offset = 0
        return count

    def close(self) -> None:
        os.close(self.descriptor)


def _ends_line(line: bytes) -> bool:
    """Whether this record is the last of its line: an older part of a longer one is not."""
    parts = line.split(b" ", 3)
    return len(parts) < 4 or b"P" not in parts[2].split(b":")


def _numbers(path: str) -> list[int]:
    """0 (the file itself, present or not) and the numbers of the older parts, newest first."""
    base = os.path.basename(path) + "."
    try:
        names = os.listdir(os.path.dirname(path) or ".")
    except OSError:
        return [0]
    numbers = (name[len(base) :] for name in names if name.startswith(base))
    return [0, *sorted(int(number) for number in numbers if number.isascii() and number.isdigit())]


def _name(path: str, number: int) -> str:
    return f"{path}.{number}" if number else path


def _watch(folder: str) -> int:
    """An inotify(7) descriptor on the log's folder; -1 where there is none, then time alone wakes us."""
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = int(libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
    if descriptor >= 0 and libc.inotify_add_watch(descriptor, os.fsencode(folder), _EVENTS) < 0:
        os.close(descriptor)
        return -1
    return descriptor


def _wait(watch: int) -> None:
    poller = select.poll()
    if watch >= 0:
        poller.register(watch, select.POLLIN)
    if poller.poll(_ALIVE) and watch >= 0:
        with contextlib.suppress(BlockingIOError):
            os.read(watch, 4096)
