"""One repository at one registry: OCI distribution-spec 1.1 (pull), with authentication and retries."""

from __future__ import annotations

import json
import threading
import urllib.parse
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from orlop.image.digest import Digest
from orlop.image.manifest import ACCEPTED, OCI_INDEX, Descriptor, Index, parse
from orlop.image.reference import DEFAULT_REGISTRY, Reference
from orlop.image.settings import ImageSettings
from orlop.image.transport import challenge, retry
from orlop.image.transport.http import Answer, Body, Broken, Http, origin
from orlop.image.transport.source import RawManifest
from orlop.image.transport.tokens import Authenticator
from orlop.kit import limits
from orlop.kit.errors import Corrupt, Denied, LimitExceeded, NotFound, OrlopError, Unavailable
from orlop.kit.tasks import Cancellation

_DOCKER_HUB_HOST = "registry-1.docker.io"
ERROR_BODY = 16 * limits.KIB
_ABSENT_ATTEMPTS = 3  # where nobody listens, nobody answers, or the name does not resolve
_MIRROR_ATTEMPTS = 2  # where somebody else can be asked instead
_ACCEPT = {"Accept": ", ".join(ACCEPTED)}
_ACCEPT_INDEX = {"Accept": OCI_INDEX}
_NO_REFERRERS = (400, 404, 405, 501)  # of registries that know no such API
_TAG_LENGTH = 128


def fallback_tag(digest: Digest) -> str:
    """Distribution-spec 1.1, "Referrers Tag Schema"."""
    return f"{digest.algorithm}-{digest.encoded}"[:_TAG_LENGTH]


def link_next(answer: Answer) -> str:
    """The URL of the next page (RFC 8288, `<...>; rel="next"`), absolute; "" on the last one.

    Only within the same server: credentials go along.
    """
    for header in answer.headers("Link"):
        target, _, parameters = header.partition(">")
        if target.startswith("<") and "next" in parameters:
            url = urllib.parse.urljoin(answer.url, target[1:])
            return url if origin(url) == origin(answer.url) else ""
    return ""


@dataclass(frozen=True)
class Endpoint:
    """Where to fetch from: a reference as this server knows it. `insecure`: TLS unverified, or plain http.

    `certificates`: a folder as one of containers-certs.d(5), instead of those of this host.
    """

    reference: Reference
    insecure: bool = False
    mirror: bool = False
    certificates: str = ""

    @property
    def host(self) -> str:
        registry = self.reference.registry
        return _DOCKER_HUB_HOST if registry == DEFAULT_REGISTRY else registry


class RegistryClient:
    """Requests to one endpoint; safe to use from many threads. Every method raises OrlopErrors only."""

    def __init__(
        self,
        endpoint: Endpoint,
        http: Http,
        settings: ImageSettings,
        cancellation: Cancellation,
        make_authenticator: Callable[[Endpoint], Authenticator],
    ) -> None:
        self.endpoint = endpoint
        self._http = http
        self._settings = settings
        self._cancellation = cancellation
        self._make_authenticator = make_authenticator
        self._lock = threading.Lock()
        self._given_up = False
        self._base = ""
        self._auth: Authenticator | None = None

    def give_up(self) -> None:
        """No further attempts, also in other threads: this endpoint is left out from now on."""
        self._given_up = True

    def manifest(self, digest: Digest | None = None, *, tag: str = "") -> RawManifest:
        """The manifest of the endpoint's reference, the one with `digest` (its digest is verified), or the
        one that `tag` of the same repository leads to."""
        reference = self.endpoint.reference
        wanted = digest or (None if tag else reference.digest)
        name = wanted or tag or reference.tag
        answer = self.request("GET", f"manifests/{name}", _ACCEPT)
        self.expect(answer, (200,), f"manifest {name}")
        data = answer.read(limits.MANIFEST_SIZE)
        found = Digest.of(data, wanted.algorithm if wanted else "sha256")
        if wanted and found != wanted:
            raise Corrupt(
                str(reference),
                f"{self.endpoint.host} serves a manifest with digest {found} for {wanted}",
                hint="do not trust this registry; pull from another one",
            )
        return RawManifest(data, answer.header("Content-Type"), found)

    def current_digest(self) -> Digest | None:
        """The server's (unverified) word on what the tag leads to; None where it gives none."""
        answer = self.request("HEAD", f"manifests/{self.endpoint.reference.tag}", _ACCEPT)
        with answer:
            try:
                return Digest(answer.header("Docker-Content-Digest")) if answer.status == 200 else None
            except OrlopError:
                return None

    def referrers(self, digest: Digest) -> tuple[Descriptor, ...]:
        """Distribution-spec 1.1, "Listing Referrers": by the API, else by the tag of the fallback schema."""
        found: list[Descriptor] = []
        path = f"referrers/{digest}"
        for _ in range(limits.REFERRER_PAGES):
            answer = self.request("GET", path, _ACCEPT_INDEX)
            if answer.status in _NO_REFERRERS and not found:
                answer.read_start(ERROR_BODY)
                return self._referrers_by_tag(digest)
            self.expect(answer, (200,), f"list of referrers of {digest}")
            following = link_next(answer)
            found += self._referrers(answer.read(limits.MANIFEST_SIZE))
            if not following:
                return tuple(found)
            path = following
        raise LimitExceeded(
            str(self.endpoint.reference),
            f"has more than {limits.REFERRER_PAGES} pages of referrers",
            hint="have those that nobody needs deleted",
        )

    def _referrers(self, data: bytes) -> tuple[Descriptor, ...]:
        index = parse(data, OCI_INDEX, f"{self.endpoint.reference}: referrers")
        return index.manifests if isinstance(index, Index) else ()

    def _referrers_by_tag(self, digest: Digest) -> tuple[Descriptor, ...]:
        try:
            raw = self.manifest(tag=fallback_tag(digest))
        except NotFound:
            return ()
        return self._referrers(raw.data) if raw.media_type.startswith(OCI_INDEX) else ()

    def blob(self, blob: Descriptor, offset: int) -> Answer:
        """The blob's bytes from `offset` on, as a response whose body is to be read.

        A server that ignores Range is read up to `offset`. Raises Corrupt where it announces another size.
        """
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        answer = self.request("GET", f"blobs/{blob.digest}", headers)
        try:
            if answer.status == 416:
                raise self._wrong_size(blob, f"ends before byte {offset}")
            self.expect(answer, (200, 206) if offset else (200,), f"blob {blob.digest}")
            if answer.status == 206:
                self._check_range(answer, blob, offset)
            elif answer.length not in (None, blob.size):
                raise self._wrong_size(blob, f"has {answer.length} bytes")
            elif offset:
                self._skip(answer, offset)
        except BaseException:
            answer.close()
            raise
        return answer

    def _check_range(self, answer: Answer, blob: Descriptor, offset: int) -> None:
        """RFC 9110, section 14.4: `bytes FIRST-LAST/SIZE`, the size possibly `*`."""
        text = answer.header("Content-Range")
        span, _, total = text.removeprefix("bytes ").partition("/")
        first, _, last = span.partition("-")
        if first != str(offset) or not last.isdigit() or total not in (str(blob.size), "*"):
            raise self._wrong_size(blob, f"resumes at {text[:100]!r}")

    def _wrong_size(self, blob: Descriptor, found: str) -> Corrupt:
        return Corrupt(
            str(self.endpoint.reference),
            f"blob {blob.digest} {found} at {self.endpoint.host}, its manifest says {blob.size} bytes",
            hint="the registry's copy is damaged: push the image again or pull from another registry",
        )

    def _skip(self, answer: Answer, count: int) -> None:
        view = memoryview(bytearray(min(count, limits.MIB)))
        while count:
            self._cancellation.check()
            got = answer.readinto(view[: min(count, len(view))])
            if got == 0:
                raise Broken(self.endpoint.host, "the connection broke while resuming", hint="try again")
            count -= got

    @property
    def base_url(self) -> str:
        """URL of the API itself (end-1)."""
        return f"{self._ready()[0]}/v2/"

    def request(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes | None = None
    ) -> Answer:
        """A request below the repository (or to a URL), authenticated where it is this server's.

        A 401 is answered once with fresh credentials.
        """
        base, auth = self._ready()
        url = path if "://" in path else f"{base}/v2/{self.endpoint.reference.repository}/{path}"
        for again in (False, True):
            authorization = auth.header(self._retried) if origin(url) == origin(base) else ""
            sent = {**headers, "Authorization": authorization} if authorization else headers
            answer = self._retried(lambda sent=sent: self._plain(method, url, sent, body))  # type: ignore[misc]
            if answer.status != 401 or not answer.trusted or again:
                break
            if not self._refreshed(answer, authorization):
                break
            answer.read_start(ERROR_BODY)
        return answer

    def send(self, method: str, url: str, headers: Mapping[str, str], body: Body) -> Answer:
        """A request whose body can be read only once: no second attempt. Raises Broken, and as `body` does.

        Fresh credentials are fetched after a 401, for the caller's own second attempt.
        """
        base, auth = self._ready()
        authorization = auth.header(self._retried) if origin(url) == origin(base) else ""
        sent = {**headers, "Authorization": authorization} if authorization else headers
        answer = self._plain(method, url, sent, body)
        if answer.status == 401 and authorization:
            self._refreshed(answer, authorization)
        return answer

    def _refreshed(self, answer: Answer, authorization: str) -> bool:
        """Whether another attempt may fare better than this one, which was refused."""
        _, auth = self._ready()
        auth.forget(authorization)
        return auth.learn(challenge.parse(answer.headers("WWW-Authenticate")), answer.url)

    def _ready(self) -> tuple[str, Authenticator]:
        """Scheme and challenge, found out by the first request of all threads (distribution-spec, end-1)."""
        with self._lock:
            if self._auth is None:
                auth = self._make_authenticator(self.endpoint)
                self._base = self._ping(auth)
                self._auth = auth
            return self._base, self._auth

    def _ping(self, auth: Authenticator) -> str:
        secure, plain = (f"{scheme}://{self.endpoint.host}" for scheme in ("https", "http"))
        try:
            answer = self._retried(
                lambda: self._plain("GET", f"{secure}/v2/", {}, quick=True), probe=self.endpoint.insecure
            )
        except Broken as error:
            if not self.endpoint.insecure:
                raise self._not_http_hint(error) from error
            answer = self._retried(lambda: self._plain("GET", f"{plain}/v2/", {}, quick=True))
            secure = plain
        if answer.status == 401:
            auth.learn(challenge.parse(answer.headers("WWW-Authenticate")), secure)
        status = answer.status
        answer.read_start(ERROR_BODY)
        if status not in (200, 401, 403, 404):  # the last two by servers that serve /v2/NAME alone
            raise Unavailable(
                self.endpoint.host, f"answers {status} to /v2/", hint="check that a registry listens there"
            )
        return secure

    def _not_http_hint(self, error: Broken) -> Broken:
        if "WRONG_VERSION_NUMBER" not in error.cause.upper() and "wrong version number" not in error.cause:
            return error
        return Broken(
            self.endpoint.host,
            "speaks plain http where https is expected",
            hint=f'put [[registry]] location = "{self.endpoint.host}", insecure = true into registries.conf,'
            " or give --tls-verify=false",
            lasting=True,
        )

    def _plain(
        self, method: str, url: str, headers: Mapping[str, str], body: Body = None, *, quick: bool = False
    ) -> Answer:
        return self._http.request(
            method, url, headers, insecure=self.endpoint.insecure, body=body, quick=quick
        )

    def _retried(self, send: Callable[[], Answer], *, probe: bool = False) -> Answer:
        """`send` until it answers with a lasting status, as often as the settings allow."""
        most = 1 if probe else min(self._settings.attempts, _MIRROR_ATTEMPTS if self.endpoint.mirror else 99)
        silent = min(most, self._patience)
        for attempt in range(1, most + 1):
            self._cancellation.check()
            wait = retry.pause(self._settings, attempt)
            try:
                answer = send()
            except Broken as error:
                last = attempt >= (silent if error.absent or error.timed_out else most)
                if last or error.lasting:
                    raise
            else:
                if answer.status not in retry.PASSING or attempt == most:
                    return answer
                asked = retry.asked_for(answer.header("Retry-After"))
                if asked is not None and retry.too_long(asked):
                    return answer
                wait = max(wait, asked or 0.0)
                answer.read_start(ERROR_BODY)
            self._cancellation.wait(wait)
            if self._given_up:
                raise Broken(self.endpoint.host, "failed before in this pull", hint="try again", lasting=True)
        raise AssertionError("the last attempt returns or raises")

    @property
    def _patience(self) -> int:
        """Attempts where nobody answers: all of them at a registry that did answer before in this pull."""
        if self.endpoint.mirror:
            return 1
        return self._settings.attempts if self._base else _ABSENT_ATTEMPTS

    def expect(self, answer: Answer, statuses: tuple[int, ...], what: str) -> None:
        """Raises the error that fits any other status."""
        if answer.status not in statuses:
            raise self.refused(answer, what, answer.read_start(ERROR_BODY))

    def refused(self, answer: Answer, what: str, body: bytes) -> OrlopError:
        """The error that fits the answer's status; `body` is what it said."""
        said = _message(body)
        status, host, subject = answer.status, self.endpoint.host, str(self.endpoint.reference)
        words = f" ({said})" if said else ""
        if status == 404:
            hint = "check the spelling of the repository and the tag"
            if what.startswith("blob "):
                hint = "the registry lost a part of the image: push it again, or pull it from another one"
            return NotFound(subject, f"{host} has no {what}{words}", hint=hint)
        if status in (401, 403):
            known = self._auth is not None and self._auth.has_credentials
            cause = "refuses the credentials" if known else "wants credentials, or has no such repository"
            hint = f"check the name, or log in: orlop login {self.endpoint.reference.registry}"
            return Denied(subject, f"{host} {cause}: status {status}{words}", hint=hint)
        if status == 429:
            return Unavailable(
                subject, f"{host} limits the rate of requests{words}", hint="wait, log in, or set up a mirror"
            )
        return Unavailable(subject, f"{host} answers {status} for {what}{words}", hint="try again later")


def _message(body: bytes) -> str:
    """The message of an error document (distribution-spec, "Error Codes"), safe to show on a terminal."""
    try:
        error = json.loads(body)["errors"][0]
        text = f"{error.get('code', '')}: {error.get('message', '')}"
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return ""
    return "".join(character for character in text[:300] if character.isprintable())
