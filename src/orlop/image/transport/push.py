"""docker:// as a destination: one repository of one registry (OCI distribution-spec 1.1, "Push")."""

from __future__ import annotations

import threading
from collections.abc import Callable

from orlop.image.auth import Credentials
from orlop.image.digest import Digest
from orlop.image.manifest import Descriptor
from orlop.image.reference import Reference
from orlop.image.settings import ImageSettings
from orlop.image.sink import Reader
from orlop.image.transport.destination import Abilities
from orlop.image.transport.http import Http, redirected
from orlop.image.transport.push_manifest import put_manifest
from orlop.image.transport.push_upload import Uploads
from orlop.image.transport.registry import Endpoint, RegistryClient
from orlop.image.transport.source import RawManifest
from orlop.image.transport.tokens import Authenticator
from orlop.kit.errors import Conflict, NotFound, Unsupported
from orlop.kit.progress import Meter
from orlop.kit.tasks import Cancellation


class DockerDestination:
    """transport.Destination and transport.Streaming.

    `origin` is another repository of the same registry: blobs that it has are mounted (the specification's
    "Mounting a blob from another repository").
    """

    def __init__(
        self,
        endpoint: Endpoint,
        settings: ImageSettings,
        cancellation: Cancellation,
        credentials_for: Callable[[Endpoint], Credentials | None],
        *,
        origin: Reference | None = None,
    ) -> None:
        self._reference = endpoint.reference
        self._origin = origin
        self._credentials_for = credentials_for
        self._http = Http(settings, endpoint.certificates)
        self._client = RegistryClient(endpoint, self._http, settings, cancellation, self._authenticator)
        self._uploads = Uploads(self._client, settings, cancellation)
        self._lock = threading.Lock()
        self._begun: dict[Digest, str] = {}  # uploads that a refused mount opened
        self._manifests: dict[Digest, RawManifest] = {}

    @property
    def abilities(self) -> Abilities:
        return Abilities(signatures=False)

    def has_blob(self, blob: Descriptor) -> bool:
        answer = self._client.request("HEAD", f"blobs/{blob.digest}", {})
        with answer:
            status, length = answer.status, answer.length
        if status == 200 and length in (None, blob.size):
            return True
        if status in (401, 403):
            self._client.expect(answer, (200, 404), f"blob {blob.digest}")
        return self._mounted(blob)

    def _mounted(self, blob: Descriptor) -> bool:
        if self._origin is None:
            return False
        answer = self._uploads.begin(f"?mount={blob.digest}&from={self._origin.repository}")
        if answer.status == 201:
            return True
        location = answer.header("Location")
        if location:
            insecure = self._client.endpoint.insecure
            with self._lock:
                self._begun[blob.digest] = redirected(answer.url, location, insecure=insecure)
        return False

    def put_blob(self, blob: Descriptor, reader: Reader, meter: Meter) -> None:
        with self._lock:
            begun = self._begun.pop(blob.digest, "")
        self._uploads.put(blob, reader, begun)

    def put_stream(self, reader: Reader, meter: Meter, describe: Callable[[], tuple[Digest, int]]) -> None:
        self._uploads.put_stream(reader, describe)

    def put_manifest(self, manifest: RawManifest, *, tag: str = "") -> None:
        put_manifest(self._client, manifest, str(manifest.digest))
        if tag:
            put_manifest(self._client, manifest, tag)
        with self._lock:
            self._manifests[manifest.digest] = manifest

    def put_signatures(self, digest: Digest, signatures: tuple[bytes, ...]) -> None:
        if signatures:
            raise Unsupported(
                str(self._reference),
                "a registry keeps no simple signatures",
                hint="leave them out with --remove-signatures, or configure a lookaside store",
            )

    def commit(self, top: Digest) -> None:
        manifest = self._manifests.get(top)
        if manifest is None:
            raise NotFound(str(self._reference), f"manifest {top} was not put", hint="put it before commit")
        if self._reference.tag:
            put_manifest(self._client, manifest, self._reference.tag)
        elif self._reference.digest != top:
            raise Conflict(
                str(self._reference), f"the manifest has the digest {top}", hint="push to a tag instead"
            )

    def close(self) -> None:
        self._http.close()

    def _authenticator(self, endpoint: Endpoint) -> Authenticator:
        scopes = [f"repository:{endpoint.reference.repository}:pull,push"]
        if self._origin is not None:
            scopes.append(f"repository:{self._origin.repository}:pull")
        return Authenticator(
            self._http,
            endpoint.reference.registry,
            " ".join(scopes),
            self._credentials_for(endpoint),
            insecure=endpoint.insecure,
        )
