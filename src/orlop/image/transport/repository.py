"""What else is done to a repository of a registry: listing its tags, deleting from it, logging in.

OCI distribution-spec 1.1, "Content Discovery" and "Content Management".
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

from orlop.image.auth import Credentials
from orlop.image.digest import Digest
from orlop.image.reference import DEFAULT_REGISTRY, Reference
from orlop.image.settings import ImageSettings
from orlop.image.transport.http import Http
from orlop.image.transport.push_manifest import remove_referrer
from orlop.image.transport.registry import ERROR_BODY, Endpoint, RegistryClient, link_next
from orlop.image.transport.tokens import Authenticator
from orlop.kit import limits
from orlop.kit.errors import Corrupt, Denied, LimitExceeded, Unsupported
from orlop.kit.tasks import Cancellation

_PAGE = 1000  # tags asked for at once
_ACTIONS = "pull,push,delete"


class Repository:
    """One repository at its registry, without mirrors. `actions` are asked of a token server."""

    def __init__(
        self,
        endpoint: Endpoint,
        settings: ImageSettings,
        cancellation: Cancellation,
        credentials_for: Callable[[Endpoint], Credentials | None],
        *,
        actions: str = "pull",
    ) -> None:
        self._http = Http(settings, endpoint.certificates)
        self._reference = endpoint.reference

        def authenticator(place: Endpoint) -> Authenticator:
            scope = f"repository:{place.reference.repository}:{actions}" if actions else ""
            own = credentials_for(place)
            return Authenticator(self._http, place.reference.registry, scope, own, insecure=place.insecure)

        self._client = RegistryClient(endpoint, self._http, settings, cancellation, authenticator)

    @classmethod
    def to_delete_from(
        cls,
        endpoint: Endpoint,
        settings: ImageSettings,
        cancellation: Cancellation,
        credentials_for: Callable[[Endpoint], Credentials | None],
    ) -> Repository:
        return cls(endpoint, settings, cancellation, credentials_for, actions=_ACTIONS)

    def tags(self) -> Iterator[str]:
        """Every tag, as the registry orders them. Raises NotFound (no such repository), Corrupt."""
        path = f"tags/list?n={_PAGE}"
        for _ in range(limits.TAG_PAGES):
            answer = self._client.request("GET", path, {})
            self._client.expect(answer, (200,), "list of tags")
            path = link_next(answer)
            yield from self._tags(answer.read(limits.TAG_PAGE_SIZE))
            if not path:
                return
        raise LimitExceeded(
            self._reference.name,
            f"lists more than {limits.TAG_PAGES} pages of tags",
            hint="see what it serves",
        )

    def _tags(self, data: bytes) -> list[str]:
        try:
            found = json.loads(data).get("tags")
        except (ValueError, AttributeError, RecursionError):
            found = ""
        if found is None:
            return []
        if not isinstance(found, list) or not all(isinstance(tag, str) for tag in found):
            raise Corrupt(
                self._reference.name, "its list of tags is malformed", hint="see what the registry serves"
            )
        return found

    def delete(self, *, tag_only: bool = False) -> Digest:
        """Delete the manifest that the reference leads to, whatever tags it has; with `tag_only` the tag
        alone. Returns the manifest's digest. Raises NotFound, Denied, Unsupported (the registry deletes
        nothing).
        """
        raw = self._client.manifest()
        name = self._reference.tag if tag_only and self._reference.tag else raw.digest
        answer = self._client.request("DELETE", f"manifests/{name}", {})
        if answer.status in (400, 405, 501):
            answer.read_start(ERROR_BODY)
            raise Unsupported(
                str(self._reference),
                f"{self._client.endpoint.host} deletes no {'tags' if tag_only else 'manifests'}"
                f" (status {answer.status})",
                hint="allow deleting in the registry's configuration"
                + (", or delete the manifest with all its tags" if tag_only else ""),
            )
        self._client.expect(answer, (200, 202, 204), f"manifest {name}")
        answer.read_start(ERROR_BODY)
        if not tag_only:
            remove_referrer(self._client, raw)
        return raw.digest

    def check_login(self) -> None:
        """Whether the registry takes the credentials at all (GET /v2/). Raises Denied, Unavailable."""
        answer = self._client.request("GET", self._client.base_url, {})
        if answer.status in (401, 403):
            answer.read_start(ERROR_BODY)
            raise Denied(
                self._reference.registry,
                f"the registry refuses the credentials (status {answer.status})",
                hint="check user and password",
            )
        self._client.expect(answer, (200, 404), "answer to /v2/")
        answer.read_start(ERROR_BODY)

    def close(self) -> None:
        self._http.close()


def of_registry(registry: str) -> Reference:
    """A reference that stands for a whole registry: its repository is never asked for."""
    name = DEFAULT_REGISTRY if registry in ("index.docker.io", "registry-1.docker.io") else registry
    return Reference(name, "library/login", "latest")
