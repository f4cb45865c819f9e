"""The config and the manifest of an image under construction (OCI image-spec 1.1, config.md, manifest.md).

What Docker's format has beyond it (Healthcheck, Shell, OnBuild) is kept in the config, as others do.
"""

from __future__ import annotations

import copy
import datetime as dt
import json
from collections.abc import Mapping, Sequence
from typing import Any

from orlop.build.model import DOCKER, LayerOf
from orlop.image.digest import Digest
from orlop.image.manifest import DOCKER_MANIFEST, OCI_MANIFEST
from orlop.image.platform import Platform

_FORGOTTEN = ("id", "parent", "container", "container_config", "docker_version", "created", "comment")
_OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
_DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
_OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
_DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"


class Document:
    """An image's config. `run` is its `config` object, which instructions change."""

    def __init__(self, whole: dict[str, Any]) -> None:
        self.whole = whole
        run = whole.get("config")
        self.run: dict[str, Any] = run if isinstance(run, dict) else {}
        whole["config"] = self.run
        self.history: list[dict[str, Any]] = list(whole.get("history") or [])
        rootfs = whole.get("rootfs") or {}
        self.diff_ids: list[str] = list(rootfs.get("diff_ids") or [])

    @classmethod
    def of_base(cls, config: bytes) -> Document:
        whole = json.loads(config)
        return cls({key: value for key, value in whole.items() if key not in _FORGOTTEN})

    @classmethod
    def empty(cls, platform: Platform) -> Document:
        whole = {"architecture": platform.architecture, "os": platform.os, "config": {}}
        if platform.variant:
            whole["variant"] = platform.variant
        return cls(whole)

    def copy(self) -> Document:
        return Document({**copy.deepcopy(self.whole), **self._parts()})

    def _parts(self) -> dict[str, Any]:
        return {
            "config": copy.deepcopy(self.run),
            "history": copy.deepcopy(self.history),
            "rootfs": {"type": "layers", "diff_ids": list(self.diff_ids)},
        }

    def add_history(self, created: str, created_by: str, *, empty: bool, comment: str = "") -> None:
        entry: dict[str, Any] = {"created": created, "created_by": created_by}
        if self.whole.get("author"):
            entry["author"] = self.whole["author"]
        if comment:
            entry["comment"] = comment
        if empty:
            entry["empty_layer"] = True
        self.history.append(entry)

    def config(self, created: str) -> bytes:
        """The config's bytes; the same values give the same bytes."""
        run = {key: value for key, value in self.run.items() if value not in (None, "", [], {})}
        whole = {**self.whole, **self._parts(), "created": created, "config": run}
        return _dumped(whole)

    def without_times(self) -> bytes:
        """What the image is, whenever it was built."""
        parts = self._parts()
        for entry in parts["history"]:
            entry.pop("created", None)
        return _dumped({**self.whole, **parts})


def manifest(
    config: bytes, layers: Sequence[LayerOf], kind: str, annotations: Mapping[str, str] | None = None
) -> bytes:
    """The manifest's bytes in the format `kind` ("oci" or "docker")."""
    docker = kind == DOCKER
    document: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": DOCKER_MANIFEST if docker else OCI_MANIFEST,
        "config": {
            "mediaType": _DOCKER_CONFIG if docker else _OCI_CONFIG,
            "digest": str(Digest.of(config)),
            "size": len(config),
        },
        "layers": [
            {"mediaType": layer_type(layer.compression, kind), "digest": layer.digest, "size": layer.size}
            for layer in layers
        ],
    }
    if annotations and not docker:
        document["annotations"] = dict(sorted(annotations.items()))
    return json.dumps(document, separators=(",", ":")).encode()


def layer_type(compression: str, kind: str) -> str:
    if kind == DOCKER:
        return f"{_DOCKER_LAYER}.{compression}" if compression else _DOCKER_LAYER
    return f"{_OCI_LAYER}+{compression}" if compression else _OCI_LAYER


def moment(seconds: float) -> str:
    """RFC 3339, whole seconds where they are whole."""
    when = dt.datetime.fromtimestamp(seconds, dt.UTC)
    return when.strftime("%Y-%m-%dT%H:%M:%S.%fZ" if when.microsecond else "%Y-%m-%dT%H:%M:%SZ")


def _dumped(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode(
        errors="replace"
    )
