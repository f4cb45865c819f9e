"""docker://: a repository at its mirrors and its registry, tried in order, for the time of one pull.

A mirror that fails, or does not have the image at all, is left out for the rest of the pull; one that merely
lacks a blob is passed over for that blob.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from orlop.image.auth import Credentials
from orlop.image.digest import Digest
from orlop.image.manifest import Descriptor
from orlop.image.settings import ImageSettings
from orlop.image.signature.lookaside import Beside
from orlop.image.sink import Reader
from orlop.image.transport.blob import BlobReader
from orlop.image.transport.http import Answer, Http
from orlop.image.transport.registry import Endpoint, RegistryClient
from orlop.image.transport.source import RawManifest
from orlop.image.transport.tokens import Authenticator
from orlop.kit.errors import Cancelled, NotFound, OrlopError
from orlop.kit.progress import Meter
from orlop.kit.tasks import Cancellation

_log = logging.getLogger(__name__)
T = TypeVar("T")


class DockerSource:
    """transport.Source. `endpoints` are mirrors first, the registry itself last; never empty.

    `credentials_for` is asked once for each endpoint that is used. `beside` is where simple signatures lie.
    """

    def __init__(
        self,
        endpoints: Sequence[Endpoint],
        settings: ImageSettings,
        cancellation: Cancellation,
        credentials_for: Callable[[Endpoint], Credentials | None],
        *,
        beside: Beside | None = None,
    ) -> None:
        self._beside = beside
        self._settings = settings
        self._cancellation = cancellation
        self._credentials_for = credentials_for
        self._http = Http(settings, endpoints[-1].certificates)
        self._lock = threading.Lock()
        self._dropped: dict[int, Exception] = {}
        self._clients = [
            RegistryClient(endpoint, self._http, settings, cancellation, self._authenticator)
            for endpoint in endpoints
        ]

    def manifest(self, digest: Digest | None = None) -> RawManifest:
        return self._first(lambda client: client.manifest(digest), whole_image=digest is None)

    def current_digest(self) -> Digest | None:
        return self._first(lambda client: client.current_digest())

    def tagged(self, tag: str) -> RawManifest | None:
        try:
            return self._first(lambda client: client.manifest(tag=tag))
        except NotFound:
            return None

    def referrers(self, digest: Digest) -> tuple[Descriptor, ...]:
        return self._first(lambda client: client.referrers(digest))

    def signatures(self, digest: Digest) -> tuple[bytes, ...]:
        return () if self._beside is None else self._beside.read(digest)

    @contextmanager
    def open_blob(self, blob: Descriptor, meter: Meter) -> Iterator[Reader]:
        reader = BlobReader(blob, self, self._settings, self._cancellation, meter)
        try:
            yield reader
        finally:
            reader.close()

    def open_at(self, blob: Descriptor, offset: int) -> tuple[RegistryClient, Answer]:
        return self._first(lambda client: (client, client.blob(blob, offset)))

    def drop(self, client: RegistryClient, error: Exception) -> bool:
        """The registry itself is never dropped: its error is the pull's."""
        if not client.endpoint.mirror:
            return False
        with self._lock:
            first = id(client) not in self._dropped
            self._dropped[id(client)] = error
        client.give_up()
        if first:
            _log.warning("mirror %s is left out for this pull: %s", client.endpoint.host, error)
        return True

    def close(self) -> None:
        self._http.close()

    def _first(self, ask: Callable[[RegistryClient], T], *, whole_image: bool = False) -> T:
        """The answer of the first endpoint that has one; the error of the last, with the others' causes."""
        passed: list[str] = []
        for client in self._clients:
            if id(client) in self._dropped:
                passed.append(str(self._dropped[id(client)]))
                continue
            try:
                return ask(client)
            except Cancelled:
                raise
            except NotFound as error:
                if not client.endpoint.mirror:
                    _add_causes(error, passed)
                    raise
                if whole_image:
                    self.drop(client, error)
                passed.append(str(error))
            except OrlopError as error:
                if not self.drop(client, error):
                    _add_causes(error, passed)
                    raise
                passed.append(str(error))
        raise AssertionError("the last endpoint is no mirror: it answers or raises")

    def _authenticator(self, endpoint: Endpoint) -> Authenticator:
        scope = f"repository:{endpoint.reference.repository}:pull"
        return Authenticator(
            self._http,
            endpoint.reference.registry,
            scope,
            self._credentials_for(endpoint),
            insecure=endpoint.insecure,
        )


def _add_causes(error: OrlopError, passed: list[str]) -> None:
    """Let `error` also say why the mirrors before it were of no use."""
    if passed:
        error.cause += "".join(f"; mirror {text}" for text in passed)
        error.args = (error.subject, error.cause)
