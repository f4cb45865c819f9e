"""ADD's remote sources: files over http(s), and git repositories."""

from __future__ import annotations

import email.utils
import hashlib
import os
import posixpath
import re
import tempfile
import time
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass

from orlop.build.add import git
from orlop.build.containerfile.errors import bad
from orlop.build.containerfile.model import Add, Place
from orlop.kit import limits
from orlop.kit.errors import Corrupt, LimitExceeded, NotFound, OrlopError, Unavailable

TYPE_CHECKING = False  # as typing's; a build that fetches nothing imports no HTTP
if TYPE_CHECKING:
    from orlop.image.settings import ImageSettings
    from orlop.image.transport.http import Answer, Http

_URL = re.compile(r"https?://", re.IGNORECASE)
_CHECKSUM = re.compile(r"(?a:(sha256|sha384|sha512):([0-9a-f]+))\Z")
_LENGTHS = {"sha256": 64, "sha384": 96, "sha512": 128}
_ATTEMPTS = 3
_PAUSE = 0.5  # before the second attempt; doubles
_PIECE = 256 * limits.KIB


@dataclass(frozen=True)
class Fetched:
    """A remote source that was brought: a file (mode 0600, its time from Last-Modified) or a git work tree.

    `digest` is the content's ("sha256:...") or the commit. `name`: what the file is called in a folder, ""
    where the address has no name.
    """

    url: str
    path: str
    name: str
    digest: str
    is_folder: bool = False
    mtime: int = 0


def is_remote(source: str) -> bool:
    """An http(s) URL or a git address."""
    return bool(_URL.match(source)) or git.is_git(source)


def fetch(
    instruction: Add,
    scratch: str,
    *,
    settings: ImageSettings | None = None,
    tick: Callable[[], None] = lambda: None,
) -> tuple[Fetched, ...]:
    """Bring the remote sources of an expanded ADD into `scratch`, in their order. Checks --checksum.

    Raises Unavailable, NotFound, Corrupt (the checksum), LimitExceeded, InvalidInput.
    """
    from orlop.image.settings import ImageSettings
    from orlop.image.transport.http import Http

    sources = [source for source in instruction.sources if is_remote(source)]
    if instruction.checksum and (len(sources) != 1 or len(instruction.sources) != 1):
        hint = "write an ADD of its own for what it belongs to"
        raise bad(instruction.place, "--checksum belongs to exactly one address", hint)
    found = []
    http = Http(settings or ImageSettings()) if sources else None
    try:
        for source in sources:
            if git.is_git(source):
                found.append(_repository(instruction, source, scratch, tick))
            else:
                assert http is not None
                found.append(_file(http, source, instruction, scratch, tick))
    finally:
        if http is not None:
            http.close()
    return tuple(found)


def _repository(instruction: Add, source: str, scratch: str, tick: Callable[[], None]) -> Fetched:
    folder = tempfile.mkdtemp(prefix="git-", dir=scratch)
    tick()
    path, commit = git.fetch(
        source, folder, checksum=instruction.checksum, keep=instruction.keep_git_dir is True
    )
    return Fetched(source, path, "", commit, is_folder=True)


def _file(http: Http, url: str, instruction: Add, scratch: str, tick: Callable[[], None]) -> Fetched:
    from orlop.image.transport.http import Broken

    algorithm, wanted = _checksum(instruction.checksum, instruction.place)
    descriptor, path = tempfile.mkstemp(prefix="add-", dir=scratch)
    with open(descriptor, "wb") as stream:
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                digest, when = _received(http, url, stream.fileno(), algorithm, tick)
                break
            except Broken as error:
                if error.lasting or attempt == _ATTEMPTS:
                    raise
                time.sleep(_PAUSE * 2 ** (attempt - 1))
    if wanted and digest != f"{algorithm}:{wanted}":
        raise Corrupt(
            url,
            f"is {digest}, not {algorithm}:{wanted}",
            hint="see whether it was replaced; then change --checksum",
        )
    os.chmod(path, 0o600)
    os.utime(path, (when, when))
    return Fetched(url, path, _name(url), digest, mtime=when)


def _received(http: Http, url: str, file: int, algorithm: str, tick: Callable[[], None]) -> tuple[str, int]:
    """The body into the empty `file`; its digest and its time."""
    from orlop.image.transport.http import Broken

    os.lseek(file, 0, os.SEEK_SET)
    os.ftruncate(file, 0)
    digest = hashlib.new(algorithm)
    view, size = memoryview(bytearray(_PIECE)), 0
    with http.request("GET", url, {}) as answer:
        _accepted(answer, url)
        while count := answer.readinto(view):
            tick()
            size += count
            if size > limits.ADD_SIZE:
                raise LimitExceeded(url, f"is more than {limits.ADD_SIZE} bytes", hint="fetch it in a RUN")
            digest.update(view[:count])
            done = 0
            while done < count:
                done += os.write(file, view[done:count])
        if answer.length is not None and size < answer.length:
            raise Broken(url, "the connection broke within the file", hint="try again")
        when = _time(answer.header("Last-Modified"))
    return f"{algorithm}:{digest.hexdigest()}", when


def _accepted(answer: Answer, url: str) -> None:
    from orlop.image.transport.http import Broken

    status = answer.status
    if status == 200:
        return
    if status in (404, 410):
        raise NotFound(url, f"is not there (HTTP {status})", hint="check the address")
    error: type[OrlopError] = Broken if status >= 500 else Unavailable
    raise error(url, f"answers with HTTP {status}", hint="check the address, or try again later")


def _time(text: str) -> int:
    """Seconds since 1970 of a Last-Modified; 0 without a good one (the same build gives the same file)."""
    try:
        found = email.utils.parsedate_to_datetime(text)
        return max(0, int(found.timestamp()))
    except (ValueError, TypeError, OverflowError, IndexError):
        return 0


def _name(url: str) -> str:
    path = urllib.parse.unquote(urllib.parse.urlsplit(url).path)
    name = posixpath.basename(path)
    return "" if name in (".", "..") or "\0" in name else name


def _checksum(text: str, place: Place) -> tuple[str, str]:
    if not text:
        return "sha256", ""
    found = _CHECKSUM.match(text)
    if found is None or len(found.group(2)) != _LENGTHS[found.group(1)]:
        raise bad(place, f"--checksum={text[:80]}", "write sha256: and 64 hexadecimal digits")
    return found.group(1), found.group(2)
