"""What is to be copied, read before anything is written: manifests below an index, chosen by platform."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from orlop.image.config import ImageConfig
from orlop.image.copy.options import CopyOptions
from orlop.image.digest import Digest
from orlop.image.manifest import Index, Manifest, is_image, parse
from orlop.image.platform import Platform, choices
from orlop.image.transport.source import RawManifest, Source
from orlop.kit import limits
from orlop.kit.errors import Corrupt, LimitExceeded, NotFound
from orlop.kit.progress import QuietMeter


@dataclass(frozen=True)
class Child:
    """An entry of an index as its JSON says, and what it leads to."""

    entry: dict[str, Any]
    node: Node


@dataclass(frozen=True)
class Node:
    """A manifest or an index. `whole`: an index of which every entry is copied."""

    raw: RawManifest
    parsed: Manifest | Index
    children: tuple[Child, ...] = ()
    whole: bool = True

    def walk(self) -> Iterator[Node]:
        """This and everything below, each digest once, children first."""
        seen: set[Digest] = set()
        for child in self.children:
            for node in child.node.walk():
                if node.raw.digest not in seen:
                    seen.add(node.raw.digest)
                    yield node
        yield self

    def chains(self, above: tuple[RawManifest, ...] = ()) -> Iterator[tuple[RawManifest, ...]]:
        """For every manifest below (or for this one) what leads to it, from the top, itself included."""
        own = (*above, self.raw)
        if not self.children:
            yield own
        for child in self.children:
            yield from child.node.chains(own)


class Reading:
    """Reads manifests within bounds; each digest once."""

    def __init__(self, source: Source, subject: str) -> None:
        self._source = source
        self._subject = subject
        self._known: dict[Digest, RawManifest] = {}
        self._bytes = 0

    def top(self, options: CopyOptions) -> Node:
        """What the source's reference leads to, as far as `options` choose it.

        Raises NotFound for a platform that is not there, Corrupt, LimitExceeded, and what the source raises.
        """
        raw = self._taken(self._source.manifest())
        parsed = parse(raw.data, raw.media_type, self._subject)
        if isinstance(parsed, Manifest):
            self._check_platforms(parsed, options.platforms)
            return Node(raw, parsed)
        if options.all_platforms:
            return self.below(raw, parsed)
        wanted = options.platforms or (Platform.host(),)
        found = [self._chosen(raw, parsed, platform, 0) for platform in wanted]
        if len(found) == 1:
            return found[0].node
        return Node(raw, parsed, _distinct(found), whole=False)

    def below(self, raw: RawManifest, parsed: Index, depth: int = 0) -> Node:
        """Everything below an index."""
        self._check_depth(depth)
        children = []
        for entry in _entries(raw):
            child = self.manifest(Digest(entry["digest"]), entry["size"])
            inner = parse(child.data, str(entry.get("mediaType") or child.media_type), self._subject)
            node = Node(child, inner)
            if isinstance(inner, Index):
                node = self.below(child, inner, depth + 1)
            children.append(Child(entry, node))
        return Node(raw, parsed, tuple(children))

    def manifest(self, digest: Digest, size: int | None = None) -> RawManifest:
        raw = self._known.get(digest)
        if raw is None:
            raw = self._taken(self._source.manifest(digest))
        if size is not None and len(raw.data) != size:
            raise Corrupt(
                self._subject,
                f"manifest {digest} has {len(raw.data)} bytes, its index says {size}",
                hint="the index is broken where it was built: have it pushed anew",
            )
        return raw

    def _taken(self, raw: RawManifest) -> RawManifest:
        self._known[raw.digest] = raw
        self._bytes += len(raw.data)
        if len(self._known) > limits.COPY_MANIFESTS or self._bytes > limits.COPY_MANIFEST_BYTES:
            raise LimitExceeded(
                self._subject,
                f"has over {limits.COPY_MANIFESTS} manifests, or {limits.COPY_MANIFEST_BYTES} bytes of them",
                hint="copy single platforms",
            )
        return raw

    def _chosen(self, raw: RawManifest, index: Index, wanted: Platform, depth: int) -> Child:
        """The entry that fits a platform best, through nested indexes."""
        self._check_depth(depth)
        by_digest = {entry["digest"]: entry for entry in reversed(_entries(raw))}
        refused: NotFound | None = None
        for choice in choices(index, wanted, self._subject)[: limits.INDEX_CHOICES]:
            child = self.manifest(choice.digest, choice.size)
            inner = parse(child.data, choice.media_type or child.media_type, self._subject)
            if isinstance(inner, Manifest):
                return Child(by_digest[choice.digest], Node(child, inner))
            try:
                return self._chosen(child, inner, wanted, depth + 1)
            except NotFound as error:
                refused = error
        assert refused is not None  # choices() raises where it has none
        raise refused

    def _check_depth(self, depth: int) -> None:
        if depth >= limits.INDEX_DEPTH:
            raise LimitExceeded(
                self._subject, f"more than {depth} indexes within each other", hint="name an image inside"
            )

    def _check_platforms(self, manifest: Manifest, wanted: tuple[Platform, ...]) -> None:
        """A single image is for the platform that its config names."""
        if not wanted or not is_image(manifest):
            return
        if manifest.config.size > limits.IMAGE_CONFIG_SIZE:
            raise LimitExceeded(
                self._subject,
                f"its config has {manifest.config.size} bytes",
                hint="copy it without --platform",
            )
        data = bytearray(manifest.config.size + 1)
        view, filled = memoryview(data), 0
        with self._source.open_blob(manifest.config, QuietMeter()) as reader:
            while count := reader.readinto(view[filled:]):
                filled += count
        config = ImageConfig.from_json(bytes(view[:filled]), f"{self._subject}: config")
        actual = Platform.of(config.os, config.architecture, config.variant)
        for platform in wanted:
            fits = (actual.os, actual.architecture) == (platform.os, platform.architecture)
            if not fits or actual.variant not in platform.variants:
                raise NotFound(
                    self._subject,
                    f"has no image for {platform}; it has {actual}",
                    hint="give --platform that, or choose another image",
                )


def _entries(raw: RawManifest) -> list[dict[str, Any]]:
    """Of an index that `parse` has checked."""
    entries: list[dict[str, Any]] = json.loads(raw.data)["manifests"]
    return entries


def _distinct(found: list[Child]) -> tuple[Child, ...]:
    return tuple({child.node.raw.digest: child for child in found}.values())
