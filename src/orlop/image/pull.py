"""Pull: from a name to an image in a Sink, all layers at once.

name -> candidates (short names) -> places (mirrors, remapping) -> manifest -> config -> layers -> image
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from orlop.image import auth
from orlop.image.auth import Credentials
from orlop.image.fetch import Fetch, Pulled
from orlop.image.platform import Platform
from orlop.image.policy.errors import PolicyRefused
from orlop.image.policy.gate import Gate, docker_gate
from orlop.image.reference import Reference
from orlop.image.registries.load import load as load_registries
from orlop.image.registries.model import RegistriesConf
from orlop.image.registries.places import Place, places
from orlop.image.registries.shortnames import candidates
from orlop.image.settings import ImageSettings
from orlop.image.sink import Sink
from orlop.image.transport.docker import DockerSource
from orlop.image.transport.http import Broken
from orlop.image.transport.registry import Endpoint
from orlop.image.transport.source import BadBytes, Source
from orlop.kit.errors import Corrupt, Denied, InvalidInput, NotFound, OrlopError, TimedOut, Unavailable
from orlop.kit.progress import Progress, Quiet
from orlop.kit.tasks import Cancellation, in_thread

__all__ = ["POLICIES", "ImageSettings", "Pulled", "load", "pull"]
_log = logging.getLogger(__name__)
POLICIES = ("always", "missing", "newer", "never")
_TRANSPORT = "docker://"
_DEFAULTS = ImageSettings()
_QUIET = Quiet()


@dataclass(frozen=True)
class _Options:
    """What the caller of `pull` decided, for all candidates alike."""

    settings: ImageSettings
    wanted: Platform
    explicit_platform: bool
    credentials: Credentials | None
    auth_file: str
    tls_verify: bool | None
    certificates: str
    progress: Progress
    registries: RegistriesConf


async def pull(
    name: str,
    sink: Sink,
    *,
    settings: ImageSettings = _DEFAULTS,
    platform: str | None = None,
    credentials: Credentials | None = None,
    auth_file: str = "",
    tls_verify: bool | None = None,
    certificates: str = "",
    progress: Progress = _QUIET,
    policy: str = "always",
    registries: RegistriesConf | None = None,
) -> Pulled:
    """Bring the image `name` into `sink`.

    `platform` is os/architecture[/variant], by default this machine's. `credentials` (for the registry, not
    its mirrors) and `tls_verify` outrank auth.json and registries.conf, `certificates` (a folder as of
    containers-certs.d(5), for the registry itself) those of its host. `policy`: "always" asks the registry;
    "missing" does only where the sink has no such name; "newer" is content with the sink's where the registry
    has no other one or does not answer; "never" only looks. `registries` is read from the files where it is
    None. Raises OrlopErrors, of which Unavailable may pass.
    """
    if policy not in POLICIES:
        raise InvalidInput(policy, "is no pull policy", hint=f"one of {', '.join(POLICIES)}")
    wanted = Platform.parse(platform) if platform else Platform.host()
    conf = await in_thread(load_registries) if registries is None else registries
    references = candidates(_plain_name(name), conf)
    there = None if policy == "always" else await in_thread(_local, references, sink)
    if there and policy in ("missing", "never"):
        return there
    if policy == "never":
        raise NotFound(name, "is not on this machine", hint="pull it, or allow pulling by another policy")
    options = _Options(
        settings, wanted, bool(platform), credentials, auth_file, tls_verify, certificates, progress, conf
    )
    try:
        return await _first(name, references, sink, options, there if policy == "newer" else None)
    except (Unavailable, Denied, NotFound) as error:
        if there is None or policy != "newer" or isinstance(error, PolicyRefused):
            raise
        _log.warning("%s: taking the image that is here: %s", name, error)
        return there


async def load(
    source: Source,
    name: str,
    sink: Sink,
    *,
    cancellation: Cancellation,
    settings: ImageSettings = _DEFAULTS,
    platform: str | None = None,
    progress: Progress = _QUIET,
    gate: Gate | None = None,
) -> Pulled:
    """Bring what `source` has into `sink`, as `name`; closes `source`, which `cancellation` was given to.

    `platform` as `pull` has it; `gate` is what the policy wants of it. Raises as `pull` does.
    """
    return await _fetched(
        Reference.parse(name),
        source,
        sink,
        cancellation,
        settings=settings,
        wanted=Platform.parse(platform) if platform else Platform.host(),
        explicit_platform=bool(platform),
        progress=progress,
        gate=gate,
    )


def _plain_name(name: str) -> str:
    text = name.removeprefix(_TRANSPORT)
    scheme, separator, _ = text.partition("://")
    if separator:
        raise InvalidInput(name, f"{scheme!r} is no transport", hint="write registry/repository:tag")
    return text


def _local(references: list[Reference], sink: Sink) -> Pulled | None:
    for reference in references:
        found = sink.named(reference.canonical)
        if found:
            return Pulled(found[0], found[1], reference.canonical)
    return None


async def _first(
    name: str, references: list[Reference], sink: Sink, options: _Options, there: Pulled | None
) -> Pulled:
    """The image of the first candidate that can be had; the errors of all where none can."""
    errors: list[OrlopError] = []
    for reference in references:
        try:
            return await _pull(reference, sink, options, there)
        except (NotFound, Unavailable, Denied) as error:
            errors.append(error)
    if len(errors) == 1:
        raise errors[0]
    if refused := [error for error in errors if isinstance(error, PolicyRefused)]:
        raise refused[0]
    kind = NotFound if all(isinstance(error, NotFound) for error in errors) else Unavailable
    raise kind(name, "; ".join(map(str, errors)), hint="write the whole name: registry/repository:tag")


async def _pull(reference: Reference, sink: Sink, options: _Options, there: Pulled | None) -> Pulled:
    gate = await in_thread(docker_gate, reference, options.settings.policy)
    cancellation = Cancellation()
    endpoints = [_endpoint(place, options) for place in places(reference, options.registries)]
    source = DockerSource(endpoints, options.settings, cancellation, _credentials_for(options))
    return await _fetched(
        reference,
        source,
        sink,
        cancellation,
        settings=options.settings,
        wanted=options.wanted,
        explicit_platform=options.explicit_platform,
        progress=options.progress,
        there=None if gate else there,  # signatures are to be kept with it
        gate=gate,
    )


async def _fetched(
    reference: Reference,
    source: Source,
    sink: Sink,
    cancellation: Cancellation,
    *,
    settings: ImageSettings,
    wanted: Platform,
    explicit_platform: bool,
    progress: Progress,
    there: Pulled | None = None,
    gate: Gate | None = None,
) -> Pulled:
    """One fetch, its errors in the words of an image; `source` is closed."""
    fetch = Fetch(
        reference,
        source,
        sink,
        cancellation,
        wanted=wanted,
        explicit_platform=explicit_platform,
        parallel=settings.parallel_blobs,
        progress=progress,
        gate=gate,
    )
    try:
        return await fetch.run(there)
    except Broken as error:
        kind = TimedOut if error.timed_out else Unavailable
        raise kind(str(reference), str(error), hint=error.hint) from error
    except BadBytes as error:
        raise Corrupt(str(reference), str(error), hint=error.hint) from error
    finally:
        source.close()


def _endpoint(place: Place, options: _Options) -> Endpoint:
    insecure = place.insecure if options.tls_verify is None else not options.tls_verify
    return Endpoint(place.reference, insecure, place.mirror, "" if place.mirror else options.certificates)


def _credentials_for(options: _Options) -> Callable[[Endpoint], Credentials | None]:
    def find(endpoint: Endpoint) -> Credentials | None:
        if options.credentials and not endpoint.mirror:
            return options.credentials
        helpers = options.registries.credential_helpers
        return auth.find(endpoint.reference, auth_file=options.auth_file, helpers=helpers)

    return find
