"""What the store says about itself. Digests and ids are plain strings, validated where they entered."""

from __future__ import annotations

from orlop.kit import limits
from orlop.kit.errors import InvalidInput
from orlop.kit.value import dataclass

#: "erofs": mountable images; "files": unpacked; "auto": the first where the kernel can mount it.
FORMS = ("auto", "files", "erofs")


@dataclass(frozen=True)
class StoreSettings:
    """The section [store] of the configuration: bounds beyond which a layer is refused whole."""

    layer_unpacked_limit: int = limits.LAYER_UNPACKED  # bytes
    layer_entries_limit: int = limits.LAYER_ENTRIES
    layer_ratio_limit: int = limits.LAYER_RATIO  # unpacked : packed, once past limits.RATIO_FLOOR
    prune_wait: float = 60.0  # seconds that `store prune` waits for pulls under way
    layers: str = "auto"  # how layers that come are kept: FORMS, docs/layers.md
    keep_blobs: bool = True  # as registries gave them, so that they can be pushed with the same digests

    def __post_init__(self) -> None:
        if self.layers not in FORMS:
            raise InvalidInput(f"[store] layers = {self.layers}", "is no form", hint=" or ".join(FORMS))


@dataclass(frozen=True)
class StoredImage:
    """An image in the store. `layers` are chain IDs, bottom first; `size` is unpacked bytes, shared or not.

    `created` is the config's own RFC 3339 time, or "" where it has none.
    """

    id: str
    digest: str
    names: tuple[str, ...]
    digests: tuple[str, ...]
    layers: tuple[str, ...]
    size: int
    created: str


@dataclass(frozen=True)
class Problem:
    """One thing that `check` found. `object` is such as `layer sha256:...` or `image ...`."""

    object: str
    cause: str
    repaired: bool = False


@dataclass(frozen=True)
class CheckReport:
    problems: tuple[Problem, ...]
    layers: int  # looked at
    images: int
    blobs: int = 0
    leftovers: int = 0  # of interrupted work: in nobody's way, removed by `prune` and by a repair

    @property
    def clean(self) -> bool:
        """Nothing was wrong, or everything that was is repaired."""
        return all(problem.repaired for problem in self.problems)


@dataclass(frozen=True)
class UsageRow:
    """`kind` is "image", "layer", "blob", "upload", "documents", "manifests" or "rootfs".

    Bytes: `shared` is used by others too, `unique` is not. `name` of a blob is who names it first.
    """

    kind: str
    id: str
    name: str
    size: int
    shared: int
    unique: int
    in_use: bool


@dataclass(frozen=True)
class Usage:
    """`total` counts each layer once; `reclaimable` is what `prune(all_images=True)` would free. Bytes."""

    rows: tuple[UsageRow, ...]
    total: int
    reclaimable: int


@dataclass(frozen=True)
class Pruned:
    """What went: image ids, chain IDs, leftovers of interrupted work; and the bytes that it had on disk."""

    images: tuple[str, ...]
    layers: tuple[str, ...]
    leftovers: int
    freed: int
    blobs: tuple[str, ...] = ()  # digests
