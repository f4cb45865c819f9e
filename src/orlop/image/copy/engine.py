"""Copy: read everything, decide what changes, move the blobs, put the manifests, let the name lead there."""

from __future__ import annotations

from collections.abc import Iterator

from orlop.image.copy.attachments import Attachment, as_signatures, attachments
from orlop.image.copy.blobs import Blobs, Job
from orlop.image.copy.convert import (
    Conversion,
    index_type,
    is_foreign,
    of_manifest,
    rewritten_index,
    rewritten_manifest,
)
from orlop.image.copy.options import Copied, CopyOptions
from orlop.image.copy.tree import Node, Reading
from orlop.image.digest import Digest
from orlop.image.manifest import Index, Manifest
from orlop.image.policy.gate import Gate
from orlop.image.transport.destination import Destination, TryAgain
from orlop.image.transport.http import Broken
from orlop.image.transport.source import BadBytes, RawManifest, Source
from orlop.kit.errors import Conflict, Corrupt, OrlopError, TimedOut, Unavailable, Unsupported
from orlop.kit.progress import Progress, Quiet
from orlop.kit.tasks import Cancellation

_DEFAULTS = CopyOptions()
_QUIET = Quiet()


def copy(
    source: Source,
    destination: Destination,
    options: CopyOptions = _DEFAULTS,
    *,
    names: tuple[str, str] = ("the source", "the destination"),
    cancellation: Cancellation | None = None,
    progress: Progress = _QUIET,
    gate: Gate | None = None,
) -> Copied:
    """Bring what `source` names to `destination`; `names` are what messages call the two.

    Blocks; another thread may set `cancellation`, which both sides were opened with. `gate` is what the
    policy wants of the source. After any failure the destination's reference leads where it led before, and
    both sides are closed. Raises Conflict (--preserve-digests or signatures forbid a conversion that is
    needed), Unsupported (the destination cannot hold it), NotFound (a platform, a blob), Corrupt,
    Unavailable, and what else the two sides raise.
    """
    cancellation = cancellation or Cancellation()
    try:
        return _Copy(source, destination, options, names, cancellation, progress, gate).run()
    except BaseException as error:
        cancellation.cancel()
        source.close()
        destination.close()
        plain = _plain(error)
        if plain is None:
            raise
        raise plain from error


def _plain(error: BaseException) -> OrlopError | None:
    """What is said outside for the transports' own kinds of error; None for any other."""
    if isinstance(error, BadBytes):
        return Corrupt(error.subject, error.cause, hint=error.hint)
    if isinstance(error, Broken):
        kind = TimedOut if error.timed_out else Unavailable
        return kind(error.subject, error.cause, hint=error.hint)
    return Unavailable(error.subject, error.cause, hint=error.hint) if isinstance(error, TryAgain) else None


class _Copy:
    def __init__(
        self,
        source: Source,
        destination: Destination,
        options: CopyOptions,
        names: tuple[str, str],
        cancellation: Cancellation,
        progress: Progress,
        gate: Gate | None = None,
    ) -> None:
        self._source = source
        self._destination = destination
        self._options = options
        self._subject, self._target = names
        self._cancellation = cancellation
        self._gate = gate
        self._blobs = Blobs(source, destination, options, cancellation, progress)
        self._conversions: dict[Digest, Conversion] = {}
        self._put: dict[Digest, RawManifest] = {}  # by the digest that it had at the source

    def run(self) -> Copied:
        reading = Reading(self._source, self._subject)
        top = reading.top(self._options)
        nodes = list(top.walk())
        if self._gate is not None:
            for chain in top.chains():
                self._gate.admit(self._source, chain)
        self._decide(nodes)
        signatures = self._signatures(nodes)
        attached = self._attached(reading, nodes)
        if attached and not self._destination.abilities.attachments:
            digests = [node.raw.digest for node in nodes]
            kept = as_signatures(self._source, digests, attached, self._subject, self._target)
            signatures |= {digest: (*signatures.get(digest, ()), *more) for digest, more in kept.items()}
            attached = []
        self._blobs.move(self._jobs(nodes))
        self._blobs.move(job for each in attached for job in self._jobs(each.node.walk()))
        for node in nodes:
            self._put_node(node)
        for each in attached:
            self._put_attachment(each)
        for digest, messages in signatures.items():
            self._destination.put_signatures(digest, messages)
        self._cancellation.check()
        final = self._put[top.raw.digest]
        self._destination.commit(final.digest)
        return Copied(
            self._subject,
            self._target,
            final.digest,
            len(self._put),
            self._blobs.sent,
            self._blobs.there,
            self._blobs.bytes,
        )

    def _decide(self, nodes: list[Node]) -> None:
        """Whether all can be done as asked; nothing has been written yet."""
        abilities = self._destination.abilities
        for node in nodes:
            if isinstance(node.parsed, Manifest):
                self._conversions[node.raw.digest] = of_manifest(
                    node.parsed, self._options, abilities, self._subject
                )
            elif not abilities.indexes:
                raise Unsupported(
                    self._target, "holds one platform only", hint="choose one with --platform, without --all"
                )
        if self._options.preserve_digests and any(map(self._changes, nodes)):
            raise Conflict(
                self._subject,
                f"{self._why(nodes)}, so its digest would not be preserved",
                hint="leave out --preserve-digests, or what asks for the change",
            )

    def _changes(self, node: Node) -> bool:
        if isinstance(node.parsed, Manifest):
            return self._conversions[node.raw.digest].changes
        if not node.whole or any(self._changes(child.node) for child in node.children):
            return True
        return self._index_type(node) != node.parsed.media_type

    def _why(self, nodes: list[Node]) -> str:
        if any(isinstance(node.parsed, Index) and not node.whole for node in nodes):
            return "only some of its platforms were chosen"
        return "it must be converted for the destination or by request"

    def _index_type(self, node: Node) -> str:
        assert isinstance(node.parsed, Index)
        children = [
            self._conversions[child.node.raw.digest].media_type
            if isinstance(child.node.parsed, Manifest)
            else self._index_type(child.node)
            for child in node.children
        ]
        return index_type(node.parsed, children, self._options, self._destination.abilities)

    def _signatures(self, nodes: list[Node]) -> dict[Digest, tuple[bytes, ...]]:
        """The simple signatures to carry, by what they sign. Raises Conflict where they cannot be."""
        if self._options.remove_signatures:
            return {}
        found: dict[Digest, tuple[bytes, ...]] = {}
        for node in nodes:
            messages = self._source.signatures(node.raw.digest)
            if not messages:
                continue
            hint = "leave the signatures out with --remove-signatures"
            if self._changes(node):
                raise Conflict(
                    self._subject, "is signed, and the conversion makes it another image", hint=hint
                )
            if not self._destination.abilities.signatures:
                raise Conflict(self._subject, f"is signed, and {self._target} holds no signatures", hint=hint)
            found[node.raw.digest] = messages
        return found

    def _attached(self, reading: Reading, nodes: list[Node]) -> list[Attachment]:
        if not self._options.signatures:
            return []
        found = attachments(self._source, reading, [node.raw.digest for node in nodes], self._subject)
        if found and any(map(self._changes, nodes)):
            raise Conflict(
                self._subject,
                "what is attached to it names digests that the conversion changes",
                hint="copy it without --signatures, or without a conversion",
            )
        abilities = self._destination.abilities
        if found and not (abilities.attachments or abilities.signatures):
            raise Conflict(
                self._subject,
                f"is signed, and {self._target} holds no signatures",
                hint="copy it without --signatures",
            )
        allowed = abilities.media_types
        for each in found:
            for node in each.node.walk():
                self._conversions.setdefault(
                    node.raw.digest, Conversion(node.parsed.media_type, (), changes=False)
                )
                if allowed and node.parsed.media_type not in allowed:
                    raise Unsupported(
                        self._target,
                        f"holds no {node.parsed.media_type}, which is attached to {self._subject}",
                        hint="copy it without --signatures",
                    )
        return found

    def _jobs(self, nodes: Iterator[Node] | list[Node]) -> Iterator[Job]:
        for node in nodes:
            if isinstance(node.parsed, Manifest):
                yield Job(node.parsed.config)
                yield from (job for job in self._layers(node) if not is_foreign(job.blob))

    def _layers(self, node: Node) -> list[Job]:
        assert isinstance(node.parsed, Manifest)
        wanted = self._conversions[node.raw.digest].layers or (None,) * len(node.parsed.layers)
        return [Job(layer, want) for layer, want in zip(node.parsed.layers, wanted, strict=True)]

    def _put_node(self, node: Node) -> None:
        """A manifest whose blobs (or children) are there."""
        self._cancellation.check()
        if node.raw.digest in self._put:
            return
        parsed = node.parsed
        final = RawManifest(node.raw.data, parsed.media_type, node.raw.digest)
        if self._changes(node):
            if isinstance(parsed, Manifest):
                layers = [
                    job.blob if is_foreign(job.blob) else self._blobs.result(job)
                    for job in self._layers(node)
                ]
                conversion = self._conversions[node.raw.digest]
                final = rewritten_manifest(node.raw, parsed, conversion, layers, self._subject)
            else:
                members = [(child.entry, self._put[child.node.raw.digest]) for child in node.children]
                final = rewritten_index(node.raw, self._index_type(node), members)
        self._destination.put_manifest(final)
        self._put[node.raw.digest] = final

    def _put_attachment(self, attachment: Attachment) -> None:
        for node in attachment.node.walk():
            self._put_node(node)
        if attachment.tag:
            self._destination.put_manifest(self._put[attachment.node.raw.digest], tag=attachment.tag)
