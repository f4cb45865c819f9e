"""From a location to its Source or Destination: the table of transports."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from orlop.image import auth
from orlop.image.auth import Credentials
from orlop.image.reference import Reference
from orlop.image.registries.load import load
from orlop.image.registries.model import RegistriesConf
from orlop.image.registries.places import places
from orlop.image.settings import ImageSettings
from orlop.image.signature.lookaside import Beside
from orlop.image.transport import locate
from orlop.image.transport.destination import Destination
from orlop.image.transport.docker import DockerSource
from orlop.image.transport.locate import Location
from orlop.image.transport.registry import Endpoint
from orlop.image.transport.source import Source
from orlop.kit.errors import InvalidInput, Unsupported
from orlop.kit.tasks import Cancellation

_DEFAULTS = ImageSettings()


@dataclass(frozen=True)
class OpenOptions:
    """What the caller decided about one side of a copy; most of it matters to registries only.

    `credentials` (for the registry, not its mirrors) and `tls_verify` outrank auth.json and registries.conf.
    `registries` is read from the files where it is None. `origin` is, for a destination, where its blobs come
    from: what is there already in the same registry is mounted instead of sent. `certificates` is a folder as
    of containers-certs.d(5) for the registry itself, instead of those of its host.
    """

    settings: ImageSettings = _DEFAULTS
    cancellation: Cancellation = field(default_factory=Cancellation)
    credentials: Credentials | None = None
    auth_file: str = ""
    tls_verify: bool | None = None
    registries: RegistriesConf | None = None
    origin: Location | None = None
    certificates: str = ""


SourceMaker = Callable[[Location, OpenOptions], Source]


class Transports:
    """`extra` adds sources that this layer cannot know (`store`), by the transport's name."""

    def __init__(self, extra: Mapping[str, SourceMaker] | None = None) -> None:
        self._extra = dict(extra or {})

    def source(self, location: Location, options: OpenOptions) -> Source:
        """Raises InvalidInput (a malformed name), Denied (a blocked registry), Unsupported."""
        maker = self._extra.get(location.transport) or _SOURCES.get(location.transport)
        if maker is None:
            raise Unsupported(str(location), "cannot be read from here", hint="name another transport")
        return maker(location, options)

    def destination(self, location: Location, options: OpenOptions) -> Destination:
        """Raises InvalidInput (a malformed name), Denied (a blocked registry), Unsupported (read only)."""
        maker = _DESTINATIONS.get(location.transport)
        if maker is None:
            raise Unsupported(
                str(location),
                f"nothing can be written to {location.transport}: by a copy",
                hint="choose docker://, oci:, oci-archive:, docker-archive:, dir: or store:",
            )
        return maker(location, options)


def endpoints(reference: Reference, options: OpenOptions) -> list[Endpoint]:
    """The servers of a reference as registries.conf has them, the registry itself last. Raises Denied."""
    conf = load() if options.registries is None else options.registries
    found = []
    for place in places(reference, conf):
        insecure = place.insecure if options.tls_verify is None else not options.tls_verify
        certificates = "" if place.mirror else options.certificates
        found.append(Endpoint(place.reference, insecure, place.mirror, certificates))
    return found


def credentials_for(options: OpenOptions) -> Callable[[Endpoint], Credentials | None]:
    """Who asks an endpoint: the caller's credentials, else those of the usual files and helpers."""

    def find(endpoint: Endpoint) -> Credentials | None:
        if options.credentials and not endpoint.mirror:
            return options.credentials
        conf = load() if options.registries is None else options.registries
        return auth.find(endpoint.reference, auth_file=options.auth_file, helpers=conf.credential_helpers)

    return find


def docker_reference(location: Location) -> Reference:
    """Of docker://NAME, with docker.io and :latest where it says nothing else: short names are for pulls."""
    return Reference.parse(location.rest)


def _docker(location: Location, options: OpenOptions) -> Source:
    reference = docker_reference(location)
    return DockerSource(
        endpoints(reference, options),
        options.settings,
        options.cancellation,
        credentials_for(options),
        beside=Beside(reference),
    )


def _to_docker(location: Location, options: OpenOptions) -> Destination:
    from orlop.image.transport.push import DockerDestination

    reference = docker_reference(location)
    if reference.tag and reference.digest:
        raise InvalidInput(str(location), "has a tag and a digest", hint="push to one of the two")
    return DockerDestination(
        endpoints(reference, options)[-1],
        options.settings,
        options.cancellation,
        credentials_for(options),
        origin=_same_registry(location, options),
        beside=Beside(reference),
    )


def _same_registry(location: Location, options: OpenOptions) -> Reference | None:
    """The repository that the blobs come from, as the registry knows it; None where it is another's."""
    if options.origin is None or options.origin.transport != locate.DOCKER:
        return None
    here = endpoints(docker_reference(location), options)[-1].reference
    there = endpoints(docker_reference(options.origin), options)[-1].reference
    return there if (there.registry, there.repository) != (here.registry, here.repository) else None


def _oci(location: Location, options: OpenOptions) -> Source:
    from orlop.image.transport.oci import OciSource

    return OciSource(location.path, location.reference, options.cancellation)


def _oci_archive(location: Location, options: OpenOptions) -> Source:
    from orlop.image.transport.oci_archive import OciArchiveSource

    return OciArchiveSource(location.path, location.reference, options.cancellation)


def _docker_archive(location: Location, options: OpenOptions) -> Source:
    from orlop.image.transport.docker_archive import DockerArchiveSource

    return DockerArchiveSource(location.path, location.reference, options.cancellation)


def _dir(location: Location, options: OpenOptions) -> Source:
    from orlop.image.transport.dir import DirSource

    return DirSource(location.path, location.reference, options.cancellation)


def _containers_storage(location: Location, options: OpenOptions) -> Source:
    from orlop.image.transport.containers_storage import ContainersStorageSource

    return ContainersStorageSource(location.path, location.reference, options.cancellation)


def _to_oci(location: Location, options: OpenOptions) -> Destination:
    from orlop.image.transport.oci import OciDestination

    return OciDestination(location.path, location.reference, options.cancellation)


def _to_oci_archive(location: Location, options: OpenOptions) -> Destination:
    from orlop.image.transport.oci_archive import OciArchiveDestination

    return OciArchiveDestination(location.path, location.reference, options.cancellation)


def _to_docker_archive(location: Location, options: OpenOptions) -> Destination:
    from orlop.image.transport.docker_archive import DockerArchiveDestination

    return DockerArchiveDestination(location.path, location.reference, options.cancellation)


def _to_dir(location: Location, options: OpenOptions) -> Destination:
    from orlop.image.transport.dir import DirDestination

    return DirDestination(location.path, location.reference, options.cancellation)


_SOURCES: Mapping[str, SourceMaker] = {
    locate.DOCKER: _docker,
    locate.OCI: _oci,
    locate.OCI_ARCHIVE: _oci_archive,
    locate.DOCKER_ARCHIVE: _docker_archive,
    locate.DIR: _dir,
    locate.CONTAINERS_STORAGE: _containers_storage,
}
_DESTINATIONS: Mapping[str, Callable[[Location, OpenOptions], Destination]] = {
    locate.DOCKER: _to_docker,
    locate.OCI: _to_oci,
    locate.OCI_ARCHIVE: _to_oci_archive,
    locate.DOCKER_ARCHIVE: _to_docker_archive,
    locate.DIR: _to_dir,
}
