"""What a copy is asked to do, and what it did."""

from __future__ import annotations

from dataclasses import dataclass

from orlop.image.digest import Digest
from orlop.image.platform import Platform
from orlop.kit import limits
from orlop.kit.errors import InvalidInput

FORMATS = ("oci", "docker")
COMPRESSIONS = ("gzip", "zstd", "")
_LEVELS = {"gzip": (1, 9), "zstd": (1, 19)}


@dataclass(frozen=True)
class CopyOptions:
    """`platforms`: the chosen ones (none: this machine's), or with `all_platforms` the index as it is.

    `compression` of layers: "gzip", "zstd", "" (none), or None to keep it; `level` as the compressor counts.
    `format` of manifests: "oci", "docker", or "" to keep it. `preserve_digests` refuses what would change
    one. `signatures`: carry what refers to the image (cosign's tags, referrers); simple signatures are
    always carried, but for `remove_signatures`. Raises InvalidInput for what contradicts itself.
    """

    platforms: tuple[Platform, ...] = ()
    all_platforms: bool = False
    preserve_digests: bool = False
    compression: str | None = None
    level: int | None = None
    format: str = ""
    signatures: bool = False
    remove_signatures: bool = False
    parallel: int = limits.PARALLEL_BLOBS
    attempts: int = limits.HTTP_ATTEMPTS
    backoff: float = limits.HTTP_BACKOFF

    def __post_init__(self) -> None:
        if self.all_platforms and self.platforms:
            raise InvalidInput("--platform", "contradicts --all", hint="give one of the two")
        if self.signatures and self.remove_signatures:
            raise InvalidInput("--signatures", "contradicts --remove-signatures", hint="give one of the two")
        if self.format and self.format not in FORMATS:
            raise InvalidInput(self.format, "is no format", hint=f"one of {', '.join(FORMATS)}")
        if self.compression == "zstd" and self.format == "docker":
            raise InvalidInput(
                "--compress zstd", "Docker's format has no zstd layers", hint="use --format oci or gzip"
            )
        if self.level is not None:
            least, most = _LEVELS.get(self.compression or "", (0, 0))
            if not least <= self.level <= most:
                raise InvalidInput(
                    f"--level {self.level}",
                    f"is no level of {self.compression or 'a copy without a compression'}",
                    hint="gzip has 1 to 9, zstd 1 to 19; name one with --compress",
                )


@dataclass(frozen=True)
class Copied:
    """`digest` of the manifest (or index) at the destination. `sent` and `there` count blobs: those that were
    transferred and those that the destination had or took over; `bytes` what was sent, as packed.
    """

    source: str
    destination: str
    digest: Digest
    manifests: int
    sent: int
    there: int
    bytes: int
