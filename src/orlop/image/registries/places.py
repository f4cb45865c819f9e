"""From a reference to the places that serve it: longest prefix, remapping, mirrors, blocked registries."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from orlop.image.reference import Reference
from orlop.image.registries import model
from orlop.image.registries.model import RegistriesConf, Registry
from orlop.kit.errors import Denied, InvalidInput


@dataclass(frozen=True)
class Place:
    """A reference in the words of the server that is to be asked."""

    reference: Reference
    insecure: bool = False
    mirror: bool = False


def places(reference: Reference, conf: RegistriesConf) -> list[Place]:
    """Mirrors in their order, then the registry itself. Raises Denied (blocked), InvalidInput (remapping)."""
    matched = find(reference, conf)
    if matched is None:
        return [Place(reference)]
    entry, length = matched
    if entry.blocked:
        raise Denied(
            str(reference),
            f"registries.conf blocks {entry.prefix}",
            hint="choose another registry, or take `blocked = true` away",
        )
    return [
        *_mirrors(reference, entry, length),
        Place(_rewritten(reference, length, entry.location), entry.insecure),
    ]


def find(reference: Reference, conf: RegistriesConf) -> tuple[Registry, int] | None:
    """The entry with the longest match, and how many characters of the reference it covers.

    An exact prefix counts before a wildcard that covers as much.
    """
    best: tuple[tuple[int, bool, int], Registry] | None = None
    for entry in conf.registries:
        length = _covered(reference.canonical, entry.prefix)
        rank = (length, not entry.prefix.startswith("*."), len(entry.prefix))
        if length and (best is None or rank > best[0]):
            best = (rank, entry)
    return (best[1], best[0][0]) if best else None


def _mirrors(reference: Reference, entry: Registry, length: int) -> Iterator[Place]:
    unwanted = model.TAG_ONLY if reference.digest else model.DIGEST_ONLY
    for mirror in entry.mirrors:
        if mirror.pull_from != unwanted:
            yield Place(_rewritten(reference, length, mirror.location), mirror.insecure, mirror=True)


def _covered(text: str, prefix: str) -> int:
    """How many characters of a reference a prefix covers; 0 where it does not match."""
    if prefix.startswith("*."):
        host, slash, _ = text.partition("/")
        name = host.partition(":")[0]
        return len(host) if slash and name.endswith(prefix[1:]) and len(name) > len(prefix) - 1 else 0
    if not text.startswith(prefix):
        return 0
    following = text[len(prefix) : len(prefix) + 1]
    # A host alone does not stand for the same host with a port.
    ends = ("", "/", ":", "@") if "/" in prefix else ("", "/")
    return len(prefix) if following in ends else 0


def _rewritten(reference: Reference, length: int, location: str) -> Reference:
    if not location:
        return reference
    text = location + reference.canonical[length:]
    try:
        return Reference.within(*_split(text))
    except InvalidInput as error:
        raise InvalidInput(
            str(reference),
            f"registries.conf turns it into {text}: {error.cause}",
            hint="correct the location",
        ) from error


def _split(text: str) -> tuple[str, str]:
    registry, _, rest = text.partition("/")
    return registry, rest
