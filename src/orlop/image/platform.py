"""Platforms: which entry of an index fits this machine or the one asked for (OCI image-index.md)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from orlop.image.manifest import INDEXES, Descriptor, Index
from orlop.kit.errors import InvalidInput, NotFound
from orlop.kit.value import dataclass

_ARCHITECTURES = {
    "x86_64": ("amd64", ""),
    "x86-64": ("amd64", ""),
    "aarch64": ("arm64", ""),
    "armhf": ("arm", "v7"),
    "armel": ("arm", "v6"),
    "armv8l": ("arm", "v7"),
    "armv7l": ("arm", "v7"),
    "armv6l": ("arm", "v6"),
    "armv5tel": ("arm", "v5"),
    "i386": ("386", ""),
    "i486": ("386", ""),
    "i586": ("386", ""),
    "i686": ("386", ""),
    "loongarch64": ("loong64", ""),
}
#: Variants that each machine also runs, best first; "" is an entry that names none.
_VARIANTS: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("arm", "v8"): ("v8", "v7", "v6", "v5", ""),
    ("arm", "v7"): ("v7", "", "v6", "v5"),
    ("arm", "v6"): ("v6", "v5", ""),
    ("arm", "v5"): ("v5", ""),
    ("arm64", ""): ("", "v8"),
    ("amd64", ""): ("", "v1"),
    ("amd64", "v2"): ("v2", "", "v1"),
    ("amd64", "v3"): ("v3", "v2", "", "v1"),
    ("amd64", "v4"): ("v4", "v3", "v2", "", "v1"),
}


@dataclass(frozen=True)
class Platform:
    """os/architecture[/variant] in Go's names. Normalised: arm64/v8 and amd64/v1 lose theirs, arm has one."""

    os: str
    architecture: str
    variant: str = ""

    @classmethod
    def parse(cls, text: str) -> Platform:
        """`linux/arm64`, `linux/arm/v7`, or an architecture alone. Raises InvalidInput."""
        parts = text.lower().split("/")
        if len(parts) == 1:
            parts = ["linux", *parts]
        if len(parts) > 3 or not all(
            part and part.replace("-", "").replace("_", "").isalnum() for part in parts
        ):
            raise InvalidInput(
                text[:100], "is not a platform", hint="write os/architecture[/variant], e.g. linux/arm/v7"
            )
        return cls.of(*parts)

    @classmethod
    def of(cls, os_name: str, architecture: str, variant: str = "") -> Platform:
        """Normalised."""
        architecture, implied = _ARCHITECTURES.get(architecture, (architecture, ""))
        variant = variant or implied
        if variant and variant.isdigit():
            variant = f"v{variant}"
        if (architecture, variant) in (("arm64", "v8"), ("amd64", "v1")):
            variant = ""
        elif architecture == "arm" and not variant:
            variant = "v7"
        return cls(os_name, architecture, variant)

    @classmethod
    def host(cls) -> Platform:
        return cls.of("linux", os.uname().machine)

    @property
    def variants(self) -> tuple[str, ...]:
        """The variants that this platform runs, best first."""
        return _VARIANTS.get((self.architecture, self.variant), (self.variant, "") if self.variant else ("",))

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)


def choices(index: Index, wanted: Platform, subject: str) -> list[Descriptor]:
    """The entries that fit, best first; nested indexes that name no platform come last.

    Raises NotFound, naming what there is, where nothing can fit.
    """
    fitting: list[tuple[int, Descriptor]] = []
    nested: list[Descriptor] = []
    unnamed: list[Descriptor] = []
    for entry in index.manifests:
        platform = _strings(entry.platform)
        if not platform:
            (nested if entry.media_type in INDEXES else unnamed).append(entry)
            continue
        if (platform.get("os"), platform.get("architecture")) == (wanted.os, wanted.architecture):
            variant = platform.get("variant", "")
            if variant in wanted.variants:
                fitting.append((wanted.variants.index(variant), entry))
    found = [entry for _, entry in sorted(fitting, key=lambda pair: pair[0])] + nested
    if not found and len(unnamed) == len(index.manifests) == 1:
        return unnamed  # an index around one image: its config says what it is
    if not found:
        raise _no_match(index, wanted, subject)
    return found


def _no_match(index: Index, wanted: Platform, subject: str) -> NotFound:
    there = sorted({_shown(entry) for entry in index.manifests})
    return NotFound(
        subject,
        f"has no image for {wanted}; it has {', '.join(there[:40]) or 'no image at all'}",
        hint="give --platform one of those, or choose another image",
    )


def _shown(entry: Descriptor) -> str:
    platform = _strings(entry.platform)
    parts = (platform.get("os"), platform.get("architecture"), platform.get("variant"))
    return "/".join(part[:40] for part in parts if part) or "an image without a platform"


def _strings(platform: Mapping[str, Any] | None) -> dict[str, str]:
    return {key: value for key, value in (platform or {}).items() if isinstance(value, str)}
