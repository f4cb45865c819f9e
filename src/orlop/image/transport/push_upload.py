"""Blobs into a registry: OCI distribution-spec 1.1, "Pushing Blobs".

Monolithic (POST, PUT) where the digest is known, one PATCH of unknown length where it is not, and in chunks
(POST, PATCH..., PUT), resumed within one, where the registry takes nothing else.
"""

from __future__ import annotations

import contextlib
import urllib.parse
from collections.abc import Callable, Iterator

from orlop.image.digest import Digest
from orlop.image.manifest import Descriptor
from orlop.image.settings import ImageSettings
from orlop.image.sink import Reader
from orlop.image.transport import retry
from orlop.image.transport.destination import TryAgain
from orlop.image.transport.http import Answer, Broken, redirected
from orlop.image.transport.registry import ERROR_BODY, RegistryClient
from orlop.kit import limits
from orlop.kit.errors import Cancelled, Corrupt, LimitExceeded, OrlopError
from orlop.kit.tasks import Cancellation

_PIECE = 256 * limits.KIB
_OCTETS = {"Content-Type": "application/octet-stream"}
_WANTS_PARTS = (405, 411, 413, 501)  # of servers (and the proxies before them) that take no long body
_LOST = (404, 416)  # the upload is gone, or is not where we are


class Pieces:
    """A body from a reader. The last piece is held back until the reader has verified all of them."""

    def __init__(self, reader: Reader, size: int | None, subject: str) -> None:
        self._reader = reader
        self._size = size
        self._subject = subject
        self.failure: BaseException | None = None  # the reader's own: no fault of the destination's

    def __iter__(self) -> Iterator[memoryview]:
        held, free = memoryview(bytearray(_PIECE)), memoryview(bytearray(_PIECE))
        count, total = self._fill(held), 0
        while count:
            total += count
            following = self._fill(free)
            self._check(total, ended=not following)
            yield held[:count]
            held, free, count = free, held, following
        if total == 0:
            self._check(0, ended=True)

    def _fill(self, room: memoryview) -> int:
        try:
            return self._reader.readinto(room)
        except BaseException as error:
            self.failure = error
            raise

    def _check(self, total: int, *, ended: bool) -> None:
        if self._size is not None and (total != self._size if ended else total >= self._size):
            self.failure = Corrupt(
                self._subject,
                f"has {total if ended else f'more than {self._size}'} bytes, {self._size} were announced",
                hint="the source is damaged: copy from another one",
            )
            raise self.failure


class Uploads:
    """The uploads into one repository; safe to use from many threads."""

    def __init__(self, client: RegistryClient, settings: ImageSettings, cancellation: Cancellation) -> None:
        self._client = client
        self._settings = settings
        self._cancellation = cancellation
        self._in_parts = False  # learned: the registry refused a long body

    @property
    def _subject(self) -> str:
        return str(self._client.endpoint.reference)

    def begin(self) -> Answer:
        """POST: 202 with an upload's Location."""
        headers = {"Content-Length": "0", **_OCTETS}
        answer = self._client.request("POST", "blobs/uploads/", headers, b"")
        self._client.expect(answer, (202,), "place for uploads")
        answer.read_start(ERROR_BODY)
        return answer

    def put(self, blob: Descriptor, reader: Reader, begun: str = "") -> None:
        """The whole blob; `begun` is the URL of an upload that was opened already."""
        subject = f"blob {blob.digest}"
        if blob.size > limits.UPLOAD_MEMORY:
            self._whole(blob, Pieces(reader, blob.size, subject), begun)
            return
        data = b"".join(bytes(piece) for piece in Pieces(reader, blob.size, subject))
        for attempt in range(1, self._settings.attempts + 1):
            try:
                self._whole(blob, Pieces(_Bytes(data), blob.size, subject), begun)
            except TryAgain:
                if attempt == self._settings.attempts:
                    raise
                begun = ""
                self._cancellation.wait(retry.pause(self._settings, attempt))
            else:
                return

    def put_stream(self, reader: Reader, describe: Callable[[], tuple[Digest, int]]) -> None:
        """A blob of which `describe` knows digest and size when the reader has ended."""
        pieces = Pieces(reader, None, "a converted layer")
        with self._upload("", pieces) as upload:
            if self._in_parts:
                self._parts(upload, pieces)
            else:
                answer = self._client.send("PATCH", upload.url, dict(_OCTETS), pieces)
                self._check(answer, (202, 204), "part of a layer")
                upload.follow(answer)
            digest, _ = describe()
            self._finish(upload, digest, {"Content-Length": "0"}, b"")

    def _whole(self, blob: Descriptor, pieces: Pieces, begun: str) -> None:
        with self._upload(begun, pieces) as upload:
            if self._in_parts:
                self._parts(upload, pieces)
                self._finish(upload, blob.digest, {"Content-Length": "0"}, b"")
            else:
                self._finish(upload, blob.digest, {"Content-Length": str(blob.size)}, pieces)

    @contextlib.contextmanager
    def _upload(self, begun: str, pieces: Pieces) -> Iterator[_Upload]:
        """An open upload; what breaks it is TryAgain where another one may do better."""
        upload = _Upload(self._client, begun)
        if not begun:
            upload.follow(self.begin())
        try:
            yield upload
        except BaseException as error:
            self._abandon(upload)
            if pieces.failure is not None:
                raise pieces.failure from None
            if isinstance(error, Broken) and not error.lasting and not isinstance(error, Cancelled):
                raise TryAgain(self._subject, str(error), hint=error.hint) from error
            raise

    def _finish(self, upload: _Upload, digest: Digest, headers: dict[str, str], body: Pieces | bytes) -> None:
        answer = self._client.send("PUT", upload.url_with(digest), {**headers, **_OCTETS}, body)
        if answer.status == 400:
            said = answer.read_start(ERROR_BODY)
            self._refused(digest, said)
        self._check(answer, (200, 201, 204), f"blob {digest}")
        told = answer.header("Docker-Content-Digest")
        answer.read_start(ERROR_BODY)
        if told and told != digest:
            raise Corrupt(
                self._subject,
                f"{self._client.endpoint.host} stored {told[:100]} where {digest} was sent",
                hint="the connection or the registry changes bytes: copy again",
            )

    def _refused(self, digest: Digest, said: bytes) -> None:
        kind = Corrupt if b"DIGEST_INVALID" in said else TryAgain
        raise kind(
            self._subject,
            f"{self._client.endpoint.host} refuses blob {digest}: {_shown(said)}",
            hint="the bytes changed on their way: copy again",
        )

    def _check(self, answer: Answer, statuses: tuple[int, ...], what: str) -> None:
        """Raises TryAgain where a fresh upload may succeed, else what fits the status."""
        status = answer.status
        if status in statuses:
            return
        if status in _WANTS_PARTS and not self._in_parts:
            self._in_parts = True
        elif status not in retry.PASSING and status not in _LOST and status != 401:
            self._client.expect(answer, statuses, what)
        said = answer.read_start(ERROR_BODY)
        raise TryAgain(
            self._subject,
            f"{self._client.endpoint.host} answers {status} for {what}: {_shown(said)}",
            hint="try again later",
        )

    def _parts(self, upload: _Upload, pieces: Pieces) -> None:
        """PATCH chunk after chunk; each is held until the registry has it."""
        size = max(limits.UPLOAD_CHUNK, upload.least)
        if size > limits.UPLOAD_CHUNK_MAX:
            raise LimitExceeded(
                self._subject,
                f"{self._client.endpoint.host} wants parts of {size} bytes;"
                f" at most {limits.UPLOAD_CHUNK_MAX} are held",
                hint="have the registry take smaller ones",
            )
        start = 0
        for chunk in _chunks(pieces, size):
            self._part(upload, start, chunk)
            start += len(chunk)

    def _part(self, upload: _Upload, start: int, chunk: memoryview) -> None:
        """One chunk, resumed from where the registry says it is."""
        at = 0
        for attempt in range(1, self._settings.attempts + 1):
            begin, end = start + at, start + len(chunk) - 1
            span = {"Content-Range": f"{begin}-{end}", "Content-Length": str(len(chunk) - at), **_OCTETS}
            try:
                answer = self._client.send("PATCH", upload.url, span, (chunk[at:],))
                if answer.status in (202, 204):
                    upload.follow(answer)
                    return
                if answer.status not in retry.PASSING and answer.status not in (416, 401):
                    self._check(answer, (202,), "part of a layer")
                answer.read_start(ERROR_BODY)
            except Broken as error:
                if error.lasting or attempt == self._settings.attempts:
                    raise
            self._cancellation.wait(retry.pause(self._settings, attempt))
            at = self._where(upload) - start
            if at == len(chunk):
                return
            if not 0 <= at < len(chunk):
                break
        raise TryAgain(self._subject, "the upload cannot be resumed", hint="try again")

    def _where(self, upload: _Upload) -> int:
        """How many bytes the registry has of the upload (GET, end-13)."""
        answer = self._client.request("GET", upload.url, {})
        self._check(answer, (200, 202, 204), "state of the upload")
        upload.follow(answer)
        _, _, last = answer.header("Range").removeprefix("bytes=").partition("-")
        return int(last) + 1 if last.isdigit() and len(last) < 19 and last != "0" else 0

    def _abandon(self, upload: _Upload) -> None:
        """Tell the registry that nothing more comes, where it still listens (end-14)."""
        if self._cancellation.cancelled:
            return
        with contextlib.suppress(OrlopError):
            self._client.send("DELETE", upload.url, {}, None).read_start(ERROR_BODY)


class _Upload:
    """Where the next request of one upload goes."""

    def __init__(self, client: RegistryClient, url: str) -> None:
        self._client = client
        self.url = url
        self.least = 0  # bytes of a chunk, at the registry's wish

    def follow(self, answer: Answer) -> None:
        """Its Location is where the next request goes, query and all."""
        location = answer.header("Location")
        least = answer.header("OCI-Chunk-Min-Length")
        answer.read_start(ERROR_BODY)
        if least.isascii() and least.isdigit() and len(least) < 19:
            self.least = int(least)
        if location:
            self.url = redirected(answer.url, location, insecure=self._client.endpoint.insecure)
        elif not self.url:
            raise Corrupt(
                str(self._client.endpoint.reference),
                f"{self._client.endpoint.host} does not say where to upload to",
                hint="it is no registry, or a broken proxy stands before it",
            )

    def url_with(self, digest: Digest) -> str:
        separator = "&" if urllib.parse.urlsplit(self.url).query else "?"
        return f"{self.url}{separator}digest={urllib.parse.quote(digest, safe='')}"


class _Bytes:
    """A Reader over what is in memory."""

    def __init__(self, data: bytes) -> None:
        self._rest = memoryview(data)

    def readinto(self, buffer: bytearray | memoryview, /) -> int:
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count


def _chunks(pieces: Pieces, size: int) -> Iterator[memoryview]:
    """Pieces gathered to chunks of `size` bytes, the last one shorter."""
    room = memoryview(bytearray(size))
    filled = 0
    for piece in pieces:
        rest = piece
        while rest:
            count = min(len(rest), size - filled)
            room[filled : filled + count] = rest[:count]
            filled, rest = filled + count, rest[count:]
            if filled == size:
                yield room
                filled = 0
    if filled:
        yield room[:filled]


def _shown(said: bytes) -> str:
    """What a server said, safe to show on a terminal."""
    text = said.decode(errors="replace")[:300]
    return "".join(character for character in text if character.isprintable()).strip()
