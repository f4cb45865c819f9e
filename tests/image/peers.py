"""skopeo, podman, buildah and umoci with storages of their own, and our copies, for tests of transports."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from orlop.image.copy.engine import copy
from orlop.image.copy.options import Copied, CopyOptions
from orlop.image.manifest import Index, Manifest, parse
from orlop.image.transport.locate import parse as located
from orlop.image.transport.open import OpenOptions, Transports
from orlop.kit import files, kernel, process
from tests.image.transport_suite import read_blob

_SECONDS = 120.0
_CONTAINERS_CONF = """\
[containers]
# This machine may lack CAP_SYS_RESOURCE: podman's own defaults would then fail every container.
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
[engine]
runtime = "crun"
"""


def ours(source: str, destination: str, *, tls_verify: bool | None = None, **options: Any) -> Copied:
    """`orlop image copy SOURCE DESTINATION` without the command line."""
    known, opening = Transports(), OpenOptions(tls_verify=tls_verify)
    origin = known.source(located(source), opening)
    try:
        target = known.destination(located(destination), opening)
        try:
            return copy(origin, target, CopyOptions(**options), names=(source, destination))
        finally:
            target.close()
    finally:
        origin.close()


def read(name: str) -> tuple[str, str, int]:
    """(manifest digest, config digest, layers) of an image; every byte of it was read and checked."""
    source = Transports().source(located(name), OpenOptions(tls_verify=False))
    try:
        raw = source.manifest()
        parsed = parse(raw.data, raw.media_type)
        if isinstance(parsed, Index):
            for entry in parsed.manifests:
                source.manifest(entry.digest)
            return raw.digest, "", 0
        assert isinstance(parsed, Manifest)
        for blob in (parsed.config, *parsed.layers):
            assert len(read_blob(source, blob)) == blob.size
        return raw.digest, parsed.config.digest, len(parsed.layers)
    finally:
        source.close()


class Peers:
    """The programs, with everything of theirs below `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.storage = folder / "storage"
        (folder / "policy.json").write_text('{"default":[{"type":"insecureAcceptAnything"}]}')
        (folder / "registries.conf").write_text("")
        (folder / "containers.conf").write_text(_CONTAINERS_CONF)
        self.env = {
            **process.MINIMAL_ENV,
            "HOME": str(folder),
            "TMPDIR": str(folder),
            "CONTAINERS_CONF": str(folder / "containers.conf"),
            "CONTAINERS_REGISTRIES_CONF": str(folder / "registries.conf"),
        }

    @property
    def place(self) -> str:
        """The brackets of containers-storage:."""
        return f"overlay@{self.storage}/root+{self.storage}/run"

    def run(self, *argv: str, check: bool = True) -> str:
        return process.run(argv, env=self.env, timeout=_SECONDS, check=check).text

    def skopeo(self, *arguments: str) -> str:
        return self.run("skopeo", "--insecure-policy", "--override-arch", "amd64", *arguments)

    def raw_digest(self, name: str) -> str:
        """What skopeo takes for the digest of the manifest that `name` leads to."""
        text = process.run(
            ["skopeo", "inspect", "--tls-verify=false", "--raw", name], env=self.env, timeout=_SECONDS
        ).stdout
        return "sha256:" + hashlib.sha256(text).hexdigest()

    def config_of(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(
            self.run("skopeo", "inspect", "--tls-verify=false", "--config", "--raw", name)
        )
        return found

    def podman(self, *arguments: str, driver: str = "overlay") -> str:
        roots = ["--root", f"{self.storage}/root", "--runroot", f"{self.storage}/run"]
        return self.run("podman", *roots, "--storage-driver", driver, *arguments)

    def buildah(self, *arguments: str) -> str:
        roots = ["--root", f"{self.storage}/root", "--runroot", f"{self.storage}/run"]
        return self.run("buildah", *roots, "--storage-driver", "overlay", *arguments)

    def image_id(self, name: str) -> str:
        return "sha256:" + self.podman("image", "inspect", "--format", "{{.Id}}", name).strip()


@contextlib.contextmanager
def peers() -> Iterator[Peers]:
    """In a folder with a short path, as podman wants it; it is gone afterwards, with all mounts below it."""
    folder = Path(tempfile.mkdtemp(prefix="op-", dir="/tmp"))
    try:
        yield Peers(folder)
    finally:
        with open("/proc/self/mounts", encoding="utf-8") as stream:
            mounts = [line.split()[1] for line in stream]
        for mount in sorted(
            (m for m in mounts if m.startswith(f"{os.path.realpath(folder)}/")), reverse=True
        ):
            with contextlib.suppress(OSError):
                kernel.umount(mount, kernel.MNT_DETACH)
        files.remove_tree(str(folder))
