"""The signatures of a manifest, from where its image is and from the lookaside: unverified, within bounds."""

from __future__ import annotations

from collections.abc import Iterator

from orlop.image.digest import Digest
from orlop.image.manifest import Descriptor, Manifest, parse
from orlop.image.reference import Reference
from orlop.image.signature import lookaside
from orlop.image.signature.model import (
    COSIGN_ARTIFACT,
    PAYLOAD,
    Attached,
    BadSignature,
    Bundle,
    Signature,
    Simple,
    unpacked,
)
from orlop.image.transport.source import RawManifest, Source
from orlop.kit import limits
from orlop.kit.errors import Corrupt, LimitExceeded, NotFound, Unsupported
from orlop.kit.progress import QuietMeter
from orlop.kit.value import dataclass

_BUNDLES = "application/vnd.dev.sigstore.bundle"
# cosign leaves the type of a bundle's config in the list of a registry without the referrers API.
_PERHAPS = (COSIGN_ARTIFACT, "application/vnd.oci.empty.v1+json", "")


@dataclass(frozen=True)
class Wanted:
    """Which kinds are looked for: what nobody asks for costs no request."""

    simple: bool = True
    sigstore: bool = True


class Collector:
    """Of one image: counts what it takes. `reference` is its name where a registry has it."""

    def __init__(
        self, source: Source, reference: Reference | None, wanted: Wanted, *, registries_d: str = ""
    ) -> None:
        self._source = source
        self._reference = reference
        self._wanted = wanted
        self._folder = registries_d
        self._place: lookaside.Place | None = None
        self._left = limits.SIGNATURES_SIZE
        self.passed: list[str] = []  # why a signature could not even be looked at

    def of(self, digest: Digest) -> tuple[Signature, ...]:
        """Raises what the source raises but for what is absent or malformed, and LimitExceeded."""
        found: list[Signature] = []
        for signature in self._all(digest):
            if signature in found:
                continue
            found.append(signature)
            if len(found) > limits.SIGNATURES:
                raise LimitExceeded(
                    str(digest),
                    f"has more than {limits.SIGNATURES} signatures",
                    hint="remove those that are of no use",
                )
        return tuple(found)

    def _all(self, digest: Digest) -> Iterator[Signature]:
        for data in self._beside(digest):
            try:
                signature = unpacked(self._counted(data))
            except BadSignature as error:
                self.passed.append(str(error))
                continue
            if self._wanted.simple if isinstance(signature, Simple) else self._wanted.sigstore:
                yield signature
        if self._wanted.sigstore and self._attachments:
            yield from self._of_tag(digest)
            yield from self._of_referrers(digest)

    def _beside(self, digest: Digest) -> Iterator[bytes]:
        yield from self._source.signatures(digest)
        if self._reference is not None and self._wanted.simple:
            yield from lookaside.read(self._lookaside, self._reference, digest)

    @property
    def _lookaside(self) -> lookaside.Place:
        assert self._reference is not None
        if self._place is None:
            self._place = lookaside.load(self._folder).of(self._reference)
        return self._place

    @property
    def _attachments(self) -> bool:
        """Only where registries.d says no they are not looked for."""
        return self._reference is None or self._lookaside.attachments is not False

    def _of_tag(self, digest: Digest) -> Iterator[Signature]:
        raw = self._source.tagged(f"{digest.algorithm}-{digest.encoded}.sig")
        if raw is not None:
            yield from self._of_manifest(raw)

    def _of_referrers(self, digest: Digest) -> Iterator[Signature]:
        found = [
            one
            for one in self._source.referrers(digest)
            if one.artifact_type in _PERHAPS or one.artifact_type.startswith(_BUNDLES)
        ]
        if len(found) > limits.SIGNATURES:
            raise LimitExceeded(
                str(digest), f"more than {limits.SIGNATURES} signatures refer to it", hint="remove some"
            )
        for one in found:
            try:
                raw = self._source.manifest(one.digest)
            except (NotFound, Corrupt) as error:
                self.passed.append(str(error))
                continue
            yield from self._of_manifest(raw)

    def _of_manifest(self, raw: RawManifest) -> Iterator[Signature]:
        """The signatures that are the layers of an attachment; what is something else is passed over."""
        try:
            manifest = parse(raw.data, raw.media_type, "attachment")
        except (Corrupt, Unsupported, LimitExceeded) as error:
            self.passed.append(str(error))
            return
        if not isinstance(manifest, Manifest):
            self.passed.append("what is attached is an index")
            return
        if len(manifest.layers) > limits.SIGNATURES:
            raise LimitExceeded(
                str(raw.digest), f"has more than {limits.SIGNATURES} signatures", hint="remove some"
            )
        for layer in manifest.layers:
            is_bundle = layer.media_type.startswith(_BUNDLES)
            if not is_bundle and layer.media_type != PAYLOAD:
                continue
            data = self._blob(layer)
            if data is not None:
                yield Bundle(data) if is_bundle else Attached(data, dict(layer.annotations), layer.media_type)

    def _blob(self, layer: Descriptor) -> bytes | None:
        texts = sum(map(len, layer.annotations.values()))
        if layer.size > limits.SIGNATURE_SIZE or texts > limits.SIGNATURE_SIZE:
            self.passed.append(f"a signature is longer than {limits.SIGNATURE_SIZE} bytes")
            return None
        try:
            return self._counted(_read(self._source, layer))
        except (NotFound, Corrupt) as error:
            self.passed.append(str(error))
            return None

    def _counted(self, data: bytes) -> bytes:
        self._left -= len(data)
        if self._left < 0:
            raise LimitExceeded(
                "signatures", f"more than {limits.SIGNATURES_SIZE} bytes together", hint="remove some"
            )
        return data


def _read(source: Source, layer: Descriptor) -> bytes:
    room = memoryview(bytearray(layer.size + 1))
    filled = 0
    with source.open_blob(layer, QuietMeter()) as reader:
        while count := reader.readinto(room[filled:]):
            filled += count
    return bytes(room[:filled])
