"""Digests: OCI image-spec 1.1, descriptor.md, "Digests"."""

from __future__ import annotations

from orlop.kit.errors import InvalidInput

_LENGTHS = {"sha256": 64, "sha512": 128}
_HEX = frozenset("0123456789abcdef")


class Digest(str):
    """`sha256:<64 hex>` or `sha512:<128 hex>`: a str that was validated, so it is safe in a path.

    `Digest(text)` raises InvalidInput for anything else (CVE-2024-3727's class).
    """

    __slots__ = ()

    def __new__(cls, text: str) -> Digest:
        algorithm, separator, encoded = text.partition(":")
        if not separator or len(encoded) != _LENGTHS.get(algorithm) or not _HEX.issuperset(encoded):
            raise InvalidInput(
                text[:200],
                "is not a digest",
                hint="a digest is sha256: and 64, or sha512: and 128, hex digits",
            )
        return super().__new__(cls, text)

    @property
    def algorithm(self) -> str:
        return self.partition(":")[0]

    @property
    def encoded(self) -> str:
        """The hex digits alone, as file names use them."""
        return self.partition(":")[2]

    @classmethod
    def of(cls, data: bytes, algorithm: str = "sha256") -> Digest:
        import hashlib  # start-up path: most commands read digests and compute none

        return cls(f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}")


def chain_ids(diff_ids: tuple[Digest, ...]) -> tuple[Digest, ...]:
    """The chain ID of each layer, bottom first (OCI image-spec 1.1, config.md, "Layer ChainID")."""
    chains: list[Digest] = []
    for diff_id in diff_ids:
        chains.append(Digest.of(f"{chains[-1]} {diff_id}".encode()) if chains else diff_id)
    return tuple(chains)
