"""docker:// as a destination: one repository of one registry (OCI distribution-spec 1.1, "Push")."""

from __future__ import annotations

import threading
from collections.abc import Callable

from orlop.image.auth import Credentials
from orlop.image.digest import Digest
from orlop.image.manifest import Descriptor
from orlop.image.reference import Reference
from orlop.image.settings import ImageSettings
from orlop.image.signature.lookaside import Beside
from orlop.image.sink import Reader
from orlop.image.transport.destination import Abilities
from orlop.image.transport.http import Http, redirected
from orlop.image.transport.push_manifest import put_manifest
from orlop.image.transport.push_upload import Uploads
from orlop.image.transport.registry import ERROR_BODY, Endpoint, RegistryClient
from orlop.image.transport.source import RawManifest
from orlop.image.transport.tokens import Authenticator
from orlop.kit.errors import Conflict, NotFound, Unsupported
from orlop.kit.progress import Meter
from orlop.kit.tasks import Cancellation


class DockerDestination:
    """transport.Destination and transport.Streaming.

    `origin` is another repository of the same registry: blobs that it has are mounted (the specification's
    "Mounting a blob from another repository"). `beside` is where simple signatures go.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        settings: ImageSettings,
        cancellation: Cancellation,
        credentials_for: Callable[[Endpoint], Credentials | None],
        *,
        origin: Reference | None = None,
        beside: Beside | None = None,
    ) -> None:
        self._beside = beside
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
        return Abilities(signatures=self._beside is not None and self._beside.is_writable)

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
        """Whether the registry took the blob over; a refusal of any kind only means that it must be sent."""
        if self._origin is None:
            return False
        query = f"?mount={blob.digest}&from={self._origin.repository}"
        answer = self._client.request("POST", f"blobs/uploads/{query}", {"Content-Length": "0"}, b"")
        status, location = answer.status, answer.header("Location")
        answer.read_start(ERROR_BODY)
        if status == 201:
            return True
        if status == 202 and location:
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
        """Simple ones into the lookaside of registries.d, sigstore's (of dir:) where cosign attaches them.

        Raises Unsupported where there is no lookaside that can be written.
        """
        from orlop.image.signature import sign
        from orlop.image.signature.model import Attached, Simple, unpacked

        read = [unpacked(signature) for signature in signatures]
        simple = [signature.data for signature in read if isinstance(signature, Simple)]
        attached = [signature for signature in read if isinstance(signature, Attached)]
        if len(simple) + len(attached) < len(read) or (simple and self._beside is None):
            raise Unsupported(
                str(self._reference),
                "has no place for these signatures",
                hint="leave them out with --remove-signatures, or configure a lookaside in registries.d",
            )
        if self._beside is not None and simple:
            self._beside.write(digest, simple)
        for signature in attached:
            sign.put_by_tag(self, self, digest, signature)

    def tagged(self, tag: str) -> RawManifest | None:
        """What a tag of this repository leads to; None where there is none."""
        try:
            return self._client.manifest(tag=tag)
        except NotFound:
            return None

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
