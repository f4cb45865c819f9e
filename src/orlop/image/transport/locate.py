"""Names of images with their transport, as skopeo's and podman's users write them (containers-transports(5)).

docker://NAME            a registry
oci:PATH[:REF]           an OCI image layout in a folder
oci-archive:PATH[:REF]   the same in a tar file
docker-archive:PATH[:REF]  what `docker save` writes
dir:PATH                 one image as plain files
store:NAME               an image of this node's store
containers-storage:[[DRIVER@ROOT+RUN]]NAME   an image of podman or CRI-O
"""

from __future__ import annotations

from dataclasses import dataclass

from orlop.kit.errors import InvalidInput

DOCKER = "docker"
OCI = "oci"
OCI_ARCHIVE = "oci-archive"
DOCKER_ARCHIVE = "docker-archive"
DIR = "dir"
STORE = "store"
CONTAINERS_STORAGE = "containers-storage"
TRANSPORTS = (DOCKER, OCI, OCI_ARCHIVE, DOCKER_ARCHIVE, DIR, STORE, CONTAINERS_STORAGE)
_HINT = f"write TRANSPORT:NAME with one of docker://, {':, '.join(TRANSPORTS[1:])}:"
_SLASHES = "//"


@dataclass(frozen=True)
class Location:
    """`transport` is one of TRANSPORTS; `rest` what stands behind it, never empty."""

    transport: str
    rest: str

    @property
    def path(self) -> str:
        """Of a transport in files: the part before the reference.

        Of containers-storage: what stands in the brackets ("" for the usual place).
        """
        return self._split()[0]

    @property
    def reference(self) -> str:
        """Of a transport in files: what follows the path's colon ("" for nothing). Elsewhere the name."""
        return self._split()[1]

    def _split(self) -> tuple[str, str]:
        if self.transport in (OCI, OCI_ARCHIVE, DOCKER_ARCHIVE):
            path, _, reference = self.rest.partition(":")
            return path, reference
        if self.transport == DIR:
            return self.rest, ""
        if self.transport == CONTAINERS_STORAGE and self.rest.startswith("["):
            place, _, name = self.rest[1:].partition("]")
            return place, name
        return "", self.rest

    def __str__(self) -> str:
        slashes = _SLASHES if self.transport == DOCKER else ""
        return f"{self.transport}:{slashes}{self.rest}"


def has_transport(text: str) -> bool:
    """Whether `text` begins with a transport's name."""
    return text.partition(":")[0] in TRANSPORTS and ":" in text


def parse(text: str, *, default: str = DOCKER) -> Location:
    """The place that `text` names; `default` is the transport of a name without one ("": it must have one).

    Raises InvalidInput. What `rest` says is for the transport to judge.
    """
    word, colon, rest = text.partition(":")
    if not colon or word not in TRANSPORTS:
        if "://" in text:
            raise InvalidInput(text[:300], f"{text.partition('://')[0][:40]!r} is no transport", hint=_HINT)
        if not default:
            raise InvalidInput(text[:300] or "''", "names no transport", hint=_HINT)
        word, rest = default, text
    elif word == DOCKER:
        if not rest.startswith(_SLASHES):
            raise InvalidInput(text[:300], "docker: is followed by two slashes", hint="write docker://NAME")
        rest = rest.removeprefix(_SLASHES)
    found = Location(word, rest)
    if not rest or (word in (OCI, OCI_ARCHIVE, DOCKER_ARCHIVE) and not found.path) or "\0" in rest:
        raise InvalidInput(text[:300] or "''", "names no image", hint=_HINT)
    return found
