"""Images made in the test and pushed by plain HTTP: OCI or Docker schema 2, one platform or several.

with registry() as running:
    reference = busybox(running)                       # 127.0.0.1:PORT/busybox:latest
    image = Image((Layer(tar({"etc/motd": b"hello"})),), config={"Cmd": ["sh"]})
    push(running, "motd:1", image)
"""

from __future__ import annotations

import base64
import fcntl
import functools
import gzip
import hashlib
import io
import json
import os
import subprocess
import tarfile
import urllib.parse
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import urllib3
import zstandard

if TYPE_CHECKING:  # `make up` pushes the example's image without what only the tests install
    from tests.support.registry import Registry

OCI = "oci"
DOCKER = "docker"
_MANIFEST = {
    OCI: "application/vnd.oci.image.manifest.v1+json",
    DOCKER: "application/vnd.docker.distribution.manifest.v2+json",
}
_INDEX = {
    OCI: "application/vnd.oci.image.index.v1+json",
    DOCKER: "application/vnd.docker.distribution.manifest.list.v2+json",
}
_CONFIG = {
    OCI: "application/vnd.oci.image.config.v1+json",
    DOCKER: "application/vnd.docker.container.image.v1+json",
}
_LAYER = {
    (OCI, ""): "application/vnd.oci.image.layer.v1.tar",
    (OCI, "gzip"): "application/vnd.oci.image.layer.v1.tar+gzip",
    (OCI, "zstd"): "application/vnd.oci.image.layer.v1.tar+zstd",
    (DOCKER, ""): "application/vnd.docker.image.rootfs.diff.tar",
    (DOCKER, "gzip"): "application/vnd.docker.image.rootfs.diff.tar.gzip",
    (DOCKER, "zstd"): "application/vnd.docker.image.rootfs.diff.tar.zstd",
}
BUSYBOX = "/bin/busybox"
_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_NOW = "2026-01-02T03:04:05Z"


def digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


@dataclass(frozen=True)
class Layer:
    """A layer: the tar's bytes and how they are packed ("gzip", "zstd" or "")."""

    tar: bytes = field(repr=False)
    compression: str = "gzip"

    @functools.cached_property
    def blob(self) -> bytes:
        if self.compression == "gzip":
            return gzip.compress(self.tar, 1, mtime=0)
        if self.compression == "zstd":
            return zstandard.ZstdCompressor(level=1).compress(self.tar)
        return self.tar

    @functools.cached_property
    def diff_id(self) -> str:
        return digest(self.tar)

    @functools.cached_property
    def digest(self) -> str:
        return digest(self.blob)


@dataclass(frozen=True)
class Image:
    """An image of one platform. `config` holds the keys of the config's own `config` object (Cmd, Env...)."""

    layers: tuple[Layer, ...]
    config: Mapping[str, Any] = field(default_factory=dict)
    schema: str = OCI
    architecture: str = "amd64"
    os: str = "linux"
    variant: str = ""

    @functools.cached_property
    def config_bytes(self) -> bytes:
        document: dict[str, Any] = {
            "created": _NOW,
            "architecture": self.architecture,
            "os": self.os,
            "config": dict(self.config),
            "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in self.layers]},
            "history": [{"created": _NOW, "created_by": "orlop tests"} for _ in self.layers],
        }
        if self.variant:
            document["variant"] = self.variant
        return json.dumps(document).encode()

    @property
    def id(self) -> str:
        """The config's digest."""
        return digest(self.config_bytes)

    @property
    def media_type(self) -> str:
        return _MANIFEST[self.schema]

    @functools.cached_property
    def manifest(self) -> bytes:
        return json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": self.media_type,
                "config": descriptor(_CONFIG[self.schema], self.config_bytes),
                "layers": [
                    descriptor(_LAYER[self.schema, layer.compression], layer.blob) for layer in self.layers
                ],
            }
        ).encode()

    @property
    def digest(self) -> str:
        return digest(self.manifest)

    @property
    def blobs(self) -> tuple[bytes, ...]:
        return (self.config_bytes, *(layer.blob for layer in self.layers))


@dataclass(frozen=True)
class Index:
    """An index (OCI) or manifest list (Docker) of images or of further indexes."""

    members: tuple[Image | Index, ...]
    schema: str = OCI

    @property
    def media_type(self) -> str:
        return _INDEX[self.schema]

    @functools.cached_property
    def manifest(self) -> bytes:
        entries = []
        for member in self.members:
            entry = descriptor(member.media_type, member.manifest)
            if isinstance(member, Image):
                entry["platform"] = {"os": member.os, "architecture": member.architecture}
                if member.variant:
                    entry["platform"]["variant"] = member.variant
            entries.append(entry)
        return json.dumps({"schemaVersion": 2, "mediaType": self.media_type, "manifests": entries}).encode()

    @property
    def digest(self) -> str:
        return digest(self.manifest)


def descriptor(media_type: str, data: bytes) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest(data), "size": len(data)}


# Tar archives


@dataclass(frozen=True)
class Entry:
    """One entry of an archive. `type` is tarfile's (REGTYPE, DIRTYPE, SYMTYPE, LNKTYPE, CHRTYPE...)."""

    name: str
    data: bytes = b""
    type: bytes = tarfile.REGTYPE
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    link: str = ""
    mtime: int = 1_700_000_000
    device: tuple[int, int] = (0, 0)
    pax: Mapping[str, str] = field(default_factory=dict)


def tar(entries: Mapping[str, bytes] | Iterable[Entry]) -> bytes:
    """An archive of `entries`; a mapping is names to contents, names ending in `/` are folders."""
    if isinstance(entries, Mapping):
        entries = [
            folder(name) if name.endswith("/") else Entry(name, data) for name, data in entries.items()
        ]
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for entry in entries:
            info = tarfile.TarInfo(entry.name)
            info.type, info.mode, info.uid, info.gid = entry.type, entry.mode, entry.uid, entry.gid
            info.linkname, info.mtime, info.size = entry.link, entry.mtime, len(entry.data)
            info.devmajor, info.devminor = entry.device
            info.pax_headers = dict(entry.pax)
            archive.addfile(info, io.BytesIO(entry.data))
    return stream.getvalue()


def folder(name: str, mode: int = 0o755, *, uid: int = 0, gid: int = 0) -> Entry:
    return Entry(name.rstrip("/"), type=tarfile.DIRTYPE, mode=mode, uid=uid, gid=gid)


def symlink(name: str, target: str) -> Entry:
    return Entry(name, type=tarfile.SYMTYPE, mode=0o777, link=target)


def hard_link(name: str, target: str) -> Entry:
    return Entry(name, type=tarfile.LNKTYPE, mode=0o755, link=target)


def tar_of_folder(path: str | Path) -> bytes:
    """An archive of all that is below a folder, owners and modes as they are."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name in sorted(os.listdir(path)):
            archive.add(os.path.join(path, name), arcname=name)
    return stream.getvalue()


# Known images


@functools.cache
def busybox_layer(compression: str = "gzip") -> Layer:
    """Static busybox: /bin/sh and all applets as hard links, users root, nobody and www-data, /tmp 1777."""
    names = subprocess.run([BUSYBOX, "--list"], check=True, capture_output=True, text=True).stdout.split()
    folders = ("bin", "dev", "etc", "home", "proc", "root", "run", "sys", "usr", "usr/bin", "var", "var/www")
    entries = [folder(name) for name in folders]
    entries.append(folder("tmp", 0o1777))
    entries.append(Entry("bin/busybox", Path(BUSYBOX).read_bytes(), mode=0o755))
    entries += [hard_link(f"bin/{name}", "bin/busybox") for name in sorted({*names, "sh"} - {"busybox"})]
    entries.append(
        Entry(
            "etc/passwd",
            b"root:x:0:0:root:/root:/bin/sh\n"
            b"www-data:x:33:33:www-data:/var/www:/bin/false\n"
            b"nobody:x:65534:65534:nobody:/home:/bin/false\n",
        )
    )
    entries.append(Entry("etc/group", b"root:x:0:\ntty:x:5:nobody\nwww-data:x:33:\nnogroup:x:65534:\n"))
    return Layer(tar(entries), compression)


def busybox_image(config: Mapping[str, Any] | None = None, **changes: Any) -> Image:
    """The busybox image as a value; `config` adds to its Cmd and Env, `changes` to Image's fields."""
    merged = {"Cmd": ["sh"], "Env": [_PATH], **(config or {})}
    return replace(Image((busybox_layer(),), merged), **changes)


def busybox(registry: Registry, name: str = "busybox:latest", **changes: Any) -> str:
    """Push the busybox image; returns its reference (`127.0.0.1:PORT/busybox:latest`)."""
    return push(registry, name, busybox_image(**changes))


def debian_tar() -> Path:
    """A minimal Debian (bookworm) root as a tar file, made by debootstrap once for this machine."""
    cache = Path(os.environ.get("ORLOP_TEST_CACHE", "/var/cache/orlop-tests"))
    cache.mkdir(parents=True, exist_ok=True)
    target = cache / "debian-bookworm.tar"
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            partial = cache / f"debian-bookworm.{os.getpid()}.tar"
            try:
                subprocess.run(
                    ["mmdebstrap", "--variant=minbase", "--quiet", "--mode=root", "bookworm", str(partial)],
                    check=True,
                    stdin=subprocess.DEVNULL,
                    capture_output=True,
                    timeout=600,
                )
                partial.rename(target)
            finally:
                partial.unlink(missing_ok=True)
    return target


@functools.cache
def debian_layer(compression: str = "gzip") -> Layer:
    return Layer(debian_tar().read_bytes(), compression)


def debian(registry: Registry, name: str = "debian:bookworm") -> str:
    """Push the Debian image; returns its reference."""
    return push(registry, name, Image((debian_layer(),), {"Cmd": ["bash"], "Env": [_PATH]}))


# Pushing and writing


def push(registry: Registry, name: str, image: Image | Index) -> str:
    """Push under `repository:tag` (or `repository` alone: by digest only); returns the reference."""
    return Pusher(registry).push(name, image)


class Pusher:
    """Plain distribution-spec PUTs, authenticated as the registry's first user."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        certificates: dict[str, Any] = {}
        if registry.authority:
            certificates["ca_certs"] = str(registry.authority.file)
        if registry.client_certificate:
            certificates["cert_file"], certificates["key_file"] = map(str, registry.client_certificate)
        self._pool = urllib3.PoolManager(retries=False, timeout=60.0, **certificates)

    def push(self, name: str, image: Image | Index) -> str:
        repository, _, tag = name.partition(":")
        if isinstance(image, Index):
            for member in image.members:
                self.push(repository, member)
        else:
            for data in image.blobs:
                self.put_blob(repository, data)
        self.put_manifest(repository, tag or image.digest, image.manifest, image.media_type)
        return self._registry.reference(name if tag else f"{repository}@{image.digest}")

    def put_blob(self, repository: str, data: bytes) -> str:
        """Push one blob, unless it is there; returns its digest."""
        name = digest(data)
        there = self._request("HEAD", f"/v2/{repository}/blobs/{name}", repository, expect=(200, 404))
        if there.status == 200:
            return name
        begun = self._request("POST", f"/v2/{repository}/blobs/uploads/", repository, expect=(202,))
        location = urllib.parse.urljoin(self._registry.url, begun.headers["Location"])
        target = f"{location}{'&' if '?' in location else '?'}digest={urllib.parse.quote(name)}"
        self._request(
            "PUT", target, repository, body=data, media_type="application/octet-stream", expect=(201,)
        )
        return name

    def put_manifest(self, repository: str, tag: str, data: bytes, media_type: str) -> None:
        self._request(
            "PUT",
            f"/v2/{repository}/manifests/{tag}",
            repository,
            body=data,
            media_type=media_type,
            expect=(201,),
        )

    def delete_manifest(self, repository: str, name: str) -> None:
        self._request("DELETE", f"/v2/{repository}/manifests/{name}", repository, expect=(202,))

    def _request(
        self,
        method: str,
        url: str,
        repository: str,
        *,
        body: bytes | None = None,
        media_type: str = "",
        expect: tuple[int, ...],
    ) -> urllib3.BaseHTTPResponse:
        headers = {"Content-Type": media_type} if media_type else {}
        headers.update(self._authorization(repository))
        answer = self._pool.request(
            method, urllib.parse.urljoin(self._registry.url, url), body=body, headers=headers, redirect=False
        )
        if answer.status not in expect:
            raise RuntimeError(f"{method} {url}: {answer.status} {answer.data[:500]!r}")
        return answer

    def _authorization(self, repository: str) -> dict[str, str]:
        if self._registry.tokens:
            user = next(iter(self._registry.users))
            token = self._registry.tokens.token(
                user, "orlop-registry", [f"repository:{repository}:pull,push,delete"]
            )
            return {"Authorization": f"Bearer {token}"}
        if self._registry.credentials:
            encoded = base64.b64encode(":".join(self._registry.credentials).encode()).decode()
            return {"Authorization": f"Basic {encoded}"}
        return {}


def write_layout(path: Path, images: Mapping[str, Image | Index]) -> Path:
    """Write an OCI image layout folder with `images` by tag; returns `path`."""
    blobs = path / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    (path / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    entries = []
    for tag, image in images.items():
        for data in _everything(image):
            (blobs / digest(data).removeprefix("sha256:")).write_bytes(data)
        entry = descriptor(image.media_type, image.manifest)
        entries.append({**entry, "annotations": {"org.opencontainers.image.ref.name": tag}})
    index = {"schemaVersion": 2, "mediaType": _INDEX[OCI], "manifests": entries}
    (path / "index.json").write_text(json.dumps(index))
    return path


def _everything(image: Image | Index) -> Iterable[bytes]:
    if isinstance(image, Index):
        for member in image.members:
            yield from _everything(member)
    else:
        yield from image.blobs
    yield image.manifest
