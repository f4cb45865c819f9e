"""What a policy is asked about, and which of its scopes decides: the most specific one."""

from __future__ import annotations

import os

from orlop.image.policy.model import Policy, Requirements
from orlop.image.reference import Reference
from orlop.kit.value import dataclass

_STORES = ("store", "containers-storage")


@dataclass(frozen=True)
class Asked:
    """An image in the words of who asks for it. `scopes` from the most specific one to "".

    `reference` is its name where it has one: what a signature must speak of.
    """

    transport: str
    text: str
    scopes: tuple[str, ...]
    reference: Reference | None = None


def docker(reference: Reference) -> Asked:
    return Asked("docker", reference.canonical, _docker_scopes(reference), reference)


def store(reference: Reference) -> Asked:
    """An image that is in our store and has no registry: built, imported, loaded."""
    return Asked("store", reference.canonical, _docker_scopes(reference), reference)


def nameless(text: str) -> Asked:
    return Asked("store", text, ("",))


def path(transport: str, name: str, inner: str = "", reference: Reference | None = None) -> Asked:
    """dir:, oci:, oci-archive:, docker-archive:, and other transports that have files."""
    whole = os.path.realpath(name)
    found = [f"{whole}:{inner}"] if inner else []
    while whole != "/":
        found.append(whole)
        whole = os.path.dirname(whole)
    text = f"{transport}:{name}:{inner}" if inner else f"{transport}:{name}"
    return Asked(transport, text, (*found, ""), reference)


def requirements(policy: Policy, asked: Asked) -> tuple[Requirements, str]:
    """What is required, and the words for where it stands."""
    for transport in _STORES if asked.transport in _STORES else (asked.transport,):
        scopes = policy.transports.get(transport, {})
        for scope in asked.scopes:
            if scope in scopes:
                return scopes[scope], f"{transport}: {scope!r}"
    return policy.default, "default"


def knows(policy: Policy, transport: str) -> bool:
    """Whether the policy says anything of the transport itself."""
    names = _STORES if transport in _STORES else (transport,)
    return any(name in policy.transports for name in names)


def _docker_scopes(reference: Reference) -> tuple[str, ...]:
    """repository@digest, repository:tag, repository, its parents, the registry, *.its.domains, ""."""
    name = reference.name
    found = [f"{name}@{reference.digest}"] if reference.digest else []
    if reference.tag:
        found.append(f"{name}:{reference.tag}")
    while name:
        found.append(name)
        name = name.rpartition("/")[0]
    domain = reference.registry.partition(":")[0]
    while "." in domain:
        domain = domain.partition(".")[2]
        found.append(f"*.{domain}")
    return (*found, "")
