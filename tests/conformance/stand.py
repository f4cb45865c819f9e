"""The stand that critest runs on: a registry with its images, a node that gets them from there, a daemon."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.conformance.images import push_all, registries_conf
from tests.support.cri import Daemon, daemon
from tests.support.node import temporary_node
from tests.support.registry import registry


@contextlib.contextmanager
def stand(*, config: str = "") -> Iterator[Daemon]:
    """A daemon for the `with` block, on a node of its own with `config` as its orlop.toml."""
    with tempfile.TemporaryDirectory(prefix="critest-") as scratch, registry() as running:
        push_all(running)
        conf = Path(scratch) / "registries.conf"
        conf.write_text(registries_conf(running.address), encoding="utf-8")
        with (
            _environment("CONTAINERS_REGISTRIES_CONF", str(conf)),
            temporary_node(images={}, config=config) as node,
            daemon(node) as serving,
        ):
            yield serving


@contextlib.contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
