"""What belongs to an image beside it: cosign's tags (sha256-HEX.sig, .att, .sbom) and referrers."""

from __future__ import annotations

from dataclasses import dataclass

from orlop.image.copy.tree import Node, Reading
from orlop.image.digest import Digest
from orlop.image.manifest import Index, Manifest, parse
from orlop.image.transport.source import Source
from orlop.kit import limits
from orlop.kit.errors import Conflict, LimitExceeded

_SUFFIXES = (".sig", ".att", ".sbom")


@dataclass(frozen=True)
class Attachment:
    """A manifest that accompanies an image; `tag` is its own where it is found by one."""

    node: Node
    tag: str = ""


def attachments(source: Source, reading: Reading, tops: list[Digest], subject: str) -> list[Attachment]:
    """All that is attached to the manifests `tops`, and to what is attached to them: in the order in which
    they can be put. Raises as `Source` does, LimitExceeded.
    """
    found: list[Attachment] = []
    seen = set(tops)
    level = list(tops)
    for _ in range(limits.ATTACHMENT_DEPTH):
        following: list[Digest] = []
        for digest in level:
            for attachment in _of(source, reading, digest, subject):
                found.append(attachment)
                own = attachment.node.raw.digest
                if own not in seen:
                    seen.add(own)
                    following.append(own)
        if not following:
            return found
        level = following
    raise LimitExceeded(
        subject,
        f"has attachments of attachments, more than {limits.ATTACHMENT_DEPTH} deep",
        hint="copy it without --signatures",
    )


def as_signatures(
    source: Source, digests: list[Digest], found: list[Attachment], subject: str, target: str
) -> dict[Digest, tuple[bytes, ...]]:
    """What is attached, as signatures beside each of the manifests. Raises Conflict for anything else."""
    from orlop.image.signature.collect import Collector, Wanted
    from orlop.image.signature.model import packed

    collector = Collector(source, None, Wanted(simple=False))
    kept = {digest: tuple(map(packed, collector.of(digest))) for digest in digests}
    for each in found:
        if collector.passed or not _is_signature(each):
            raise Conflict(
                target,
                f"holds no {', '.join(collector.passed) or each.tag or each.node.raw.digest} of {subject}",
                hint="copy it without --signatures, or to oci:",
            )
    return {digest: signatures for digest, signatures in kept.items() if signatures}


def _is_signature(attachment: Attachment) -> bool:
    from orlop.image.signature.model import PAYLOAD

    parsed = attachment.node.parsed
    return isinstance(parsed, Manifest) and all(
        layer.media_type == PAYLOAD or layer.media_type.startswith("application/vnd.dev.sigstore.bundle")
        for layer in parsed.layers
    )


def _of(source: Source, reading: Reading, digest: Digest, subject: str) -> list[Attachment]:
    found = []
    for suffix in _SUFFIXES:
        tag = f"{digest.algorithm}-{digest.encoded}{suffix}"
        raw = source.tagged(tag)
        if raw is not None:
            found.append(Attachment(_node(reading, raw.digest, raw.media_type, subject), tag))
    for referrer in source.referrers(digest):
        found.append(Attachment(_node(reading, referrer.digest, referrer.media_type, subject)))
    return found


def _node(reading: Reading, digest: Digest, media_type: str, subject: str) -> Node:
    raw = reading.manifest(digest)
    parsed = parse(raw.data, media_type or raw.media_type, f"{subject}: attached {digest}")
    return reading.below(raw, parsed) if isinstance(parsed, Index) else Node(raw, parsed)
