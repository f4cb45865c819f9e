"""Write a running container to an archive: its memory, what it wrote, and what it was asked to be.

The form is the field's (checkpointctl, CRI-O, containerd, podman): checkpoint/ with CRIU's files, dump.log,
stats-dump, spec.dump (config.json), config.dump, status.dump, bind.mounts, rootfs-diff.tar, deleted.files and
container.log in one tar.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat

from orlop.kit import files, limits
from orlop.kit.clock import rfc3339
from orlop.kit.errors import InvalidInput
from orlop.pod import exec_container
from orlop.pod.context import Pods, as_container
from orlop.pod.model import Container

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    import tarfile
    from collections.abc import Iterator
    from typing import Any

#: Places that are mounted in every container: what lies below them in the root is no change of its own.
_MOUNTED = frozenset(["dev", "dev/shm", "proc", "sys", "run/.containerenv", "run/secrets"])
_NEVER = "0001-01-01T00:00:00Z"


def checkpoint_container(pods: Pods, name: str, location: str, timeout: float | None = None) -> None:
    """The archive is at `location` (absolute, replaced where it is there); the container goes on.

    It stands still meanwhile, at most `timeout` seconds. Raises NotFound, Conflict (it does not run),
    InvalidInput (the location), Unsupported (no CRIU, or a runtime without it), RuntimeFailed (CRIU's
    reason), TimedOut; no archive is left then, and the container runs.
    """
    from orlop.runtime import checkpoint

    _check_location(location)
    identifier = exec_container.running(pods, name)["id"]
    with pods.claim(identifier):
        container = as_container(exec_container.running(pods, identifier))
        criu = checkpoint.require(pods.engine, identifier)
        folder = pods.node.in_root("checkpoints", identifier)
        files.remove_tree(folder)  # of a checkpoint that was cut off
        try:
            os.makedirs(f"{folder}/checkpoint", mode=0o700)
            with _standing_still(pods, identifier):
                checkpoint.dump(
                    pods.engine,
                    identifier,
                    criu,
                    f"{folder}/checkpoint",
                    folder,
                    timeout or limits.CHECKPOINT_TIMEOUT,
                )
                config = pods.engine.config_of(identifier)
                _write_changes(pods, container, config, folder)
            _write_descriptions(pods, container, config, folder)
            _pack(folder, container.log_path, location)
        finally:
            files.remove_tree(folder)


def _check_location(location: str) -> None:
    subject = f"checkpoint {location[:200]!r}"
    if not location.startswith("/") or ".." in location.split("/") or "\0" in location:
        raise InvalidInput(subject, "is no absolute path without ..", hint="give the path of a new file")
    if not os.path.isdir(os.path.dirname(location)):
        raise InvalidInput(subject, "its folder does not exist", hint="make the folder first")
    if os.path.lexists(location) and not stat.S_ISREG(os.lstat(location).st_mode):
        raise InvalidInput(subject, "is there and is no regular file", hint="give another path")


@contextlib.contextmanager
def _standing_still(pods: Pods, identifier: str) -> Iterator[None]:
    """Frozen from its memory's copy to its files' copy: the two belong together."""
    pods.engine.pause(identifier)
    try:
        yield
    finally:
        pods.engine.resume(identifier)


def _write_changes(pods: Pods, container: Container, config: dict[str, Any], folder: str) -> None:
    """rootfs-diff.tar and deleted.files: what differs from the image, mounts left out."""
    import tarfile

    mounted = {mount["destination"].strip("/") for mount in config["mounts"]} | _MOUNTED
    upper = f"{pods.store.layout.rootfs(container.id)}/upper"
    deleted: list[str] = []
    with tarfile.open(f"{folder}/rootfs-diff.tar", "w", format=tarfile.PAX_FORMAT) as archive:
        for path, relative in _walk(upper, mounted):
            status = os.lstat(path)
            if stat.S_ISCHR(status.st_mode) and status.st_rdev == 0:
                deleted.append(relative)  # overlayfs's mark of a name that is gone
            elif not stat.S_ISSOCK(status.st_mode):
                archive.add(path, relative, recursive=False)
    if deleted:
        _write_json(f"{folder}/deleted.files", deleted)


def _walk(top: str, left_out: set[str]) -> Iterator[tuple[str, str]]:
    """Everything below `top` with its relative name, folders before what is in them."""
    pending = [""]
    while pending:
        inside = pending.pop()
        with os.scandir(os.path.join(top, inside)) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
        for entry in found:
            relative = f"{inside}/{entry.name}".lstrip("/")
            if relative in left_out:
                continue
            yield entry.path, relative
            if entry.is_dir(follow_symlinks=False):
                pending.append(relative)


def _write_descriptions(pods: Pods, container: Container, config: dict[str, Any], folder: str) -> None:
    _write_json(f"{folder}/spec.dump", config)
    asked = container.config
    _write_json(
        f"{folder}/config.dump",
        {
            "id": container.id,
            "name": asked.name,
            "rootfsImage": asked.image_name or asked.image,
            "rootfsImageRef": container.image_id,
            "rootfsImageName": asked.image_name or asked.image,
            "runtime": pods.engine.handler_of(container.id).name,
            "createdTime": rfc3339(container.created),
            "checkpointedTime": rfc3339(pods.now()),
            "restoredTime": _NEVER,
            "restored": False,
        },
    )
    _write_json(
        f"{folder}/status.dump",
        {
            "CreatedAt": int(container.created * 1e9),
            "StartedAt": int(container.started * 1e9),
            "FinishedAt": 0,
            "ExitCode": 0,
            "Pid": container.pid,
            "Reason": "",
            "Message": "",
        },
    )
    binds = [
        {
            "source": mount["source"],
            "destination": mount["destination"],
            "file_type": "directory" if os.path.isdir(mount["source"]) else "file",
            "permissions": stat.S_IMODE(os.stat(mount["source"]).st_mode),
        }
        for mount in config["mounts"]
        if mount.get("type") == "bind" and os.path.exists(mount.get("source", ""))
    ]
    if binds:
        _write_json(f"{folder}/bind.mounts", binds)


def _pack(folder: str, log_path: str, location: str) -> None:
    """All of it in one tar at `location`: whole or not at all."""
    import tarfile

    temporary = f"{location}.{files.unique()}.tmp"
    try:
        descriptor = os.open(
            temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
        )
        with os.fdopen(descriptor, "wb") as stream:
            with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
                for name in sorted(os.listdir(folder)):
                    archive.add(f"{folder}/{name}", name)
                _add_log(archive, log_path)
            stream.flush()
            os.fdatasync(stream.fileno())
        os.rename(temporary, location)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
    files.sync_folder(os.path.dirname(location))


def _add_log(archive: tarfile.TarFile, path: str) -> None:
    """Its present log: it is being written to again, so what is there at this moment counts."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return
    with os.fdopen(descriptor, "rb") as stream:
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            archive.addfile(archive.gettarinfo(arcname="container.log", fileobj=stream), stream)


def _write_json(path: str, value: object) -> None:
    with open(path, "w", encoding="utf-8") as stream:
        json.dump(value, stream)
