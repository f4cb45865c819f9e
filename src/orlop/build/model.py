"""What a build is asked for, what it says while it works, and what it gives back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from orlop.runtime.model import Resources

OCI, DOCKER = "oci", "docker"


@dataclass(frozen=True)
class Options:
    """`orlop build`'s options, as the library takes them.

    `context`: a folder, an archive's path, or "-". `names`: references for the result. `build_args`: by name.
    `secrets`: what gives a secret's bytes, by ID; called where a RUN asks for it. `timestamp`: every time of
    the result is it; `epoch` (SOURCE_DATE_EPOCH): no time is later. Both in seconds, None: not given.
    `annotations` are of the manifest. `add_hosts`: (address, names). `contexts`: named ones, by name.
    `allow`: entitlements, such as "security.insecure". `jobs`: steps at the same time.
    """

    context: str
    file: str = ""
    names: tuple[str, ...] = ()
    target: str = ""
    platform: str = ""
    build_args: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, Callable[[], bytes]] = field(default_factory=dict)
    contexts: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    add_hosts: tuple[tuple[str, tuple[str, ...]], ...] = ()
    allow: tuple[str, ...] = ()
    network: str = "default"
    resources: Resources = Resources()
    ignore_file: str = ""
    no_cache: bool = False
    format: str = OCI
    timestamp: int | None = None
    epoch: int | None = None
    jobs: int = 0

    @property
    def newest(self) -> int | None:
        """The bound of all times in the result."""
        return self.epoch if self.timestamp is None else self.timestamp


class Report(Protocol):
    """What hears of a build. Called from the threads of its stages, one call at a time each."""

    def step(self, step: str, text: str) -> None:
        """A step begins: `step` is such as "build 2/5"."""

    def cached(self, step: str, text: str) -> None:
        """It was found in the cache, and is not carried out."""

    def output(self, step: str, data: bytes) -> None:
        """What its command wrote, on either stream."""

    def note(self, text: str) -> None:
        """A warning, or what happens between steps."""


class Silent:
    """A Report that nobody hears."""

    def step(self, step: str, text: str) -> None: ...
    def cached(self, step: str, text: str) -> None: ...
    def output(self, step: str, data: bytes) -> None: ...
    def note(self, text: str) -> None: ...


class Images(Protocol):
    """Where base images come from."""

    def base(self, name: str, platform: str) -> str:
        """The ID of the stored image, fetched where it must be. `platform` "" is this machine's."""


class RemoteStep(Protocol):
    """A step of an imported cache; `created` as a history has it."""

    @property
    def created(self) -> str: ...

    def bring(self, parent: str | None) -> LayerOf | None:
        """Its layer, in the store now on the chain `parent`; None where the step made none."""


class RemoteCache(Protocol):
    def step(self, key: str) -> RemoteStep | None: ...


@dataclass(frozen=True)
class LayerOf:
    """A layer of an image: as `chain_id` in the store, as `digest` and `size` in a manifest.

    `compression` is "gzip", "zstd" or "".
    """

    chain_id: str
    diff_id: str
    digest: str
    size: int
    compression: str = ""


@dataclass(frozen=True)
class CachedStep:
    """A step by its keys; `layer` is None where it changed nothing."""

    keys: tuple[str, ...]
    layer: LayerOf | None
    created: str


@dataclass(frozen=True)
class Built:
    """`id` is the image's, `digest` its manifest's. `steps` counts those that could be cached, `cached` those
    that were; `done` is what each came to, for an export of the cache."""

    id: str
    digest: str
    names: tuple[str, ...]
    steps: int
    cached: int
    done: tuple[CachedStep, ...] = ()
