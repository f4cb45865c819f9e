"""Copy files into and out of a container, running or not.

Paths in the container are resolved with its root as `/` (openat2(2), RESOLVE_IN_ROOT): through
/proc/PID/root where it runs, so that its volumes are seen, else in its mounted root.
"""

from __future__ import annotations

import contextlib
import os
import stat

from orlop.kit import files
from orlop.kit.errors import Conflict, Corrupt, InvalidInput, NotFound, OrlopError, Unavailable
from orlop.pod import codec, inside, refresh, sandbox, tree
from orlop.pod.context import Pods
from orlop.pod.records import RUNNING

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    import sqlite3
    import tarfile
    from collections.abc import Iterator
    from typing import IO

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


def copy_out(pods: Pods, name: str, path: str, destination: str, *, owners: bool = False) -> list[str]:
    """Copy `path` of the container to `destination` on the machine, as cp -R would; returns what was skipped.

    Into `destination` where that is a folder, else under that name; `path` ending in `/.` means its content.
    Devices and sockets are skipped. Raises NotFound, Conflict, LimitExceeded.
    """
    work = tree.Copying(owners=owners, owner=(os.geteuid(), os.getegid()))
    with _explained(name, path), _root(pods, name) as root:
        parent, last = _split(path)
        source = files.open_in_root(root, parent, _FOLDER)
        try:
            source, last = _followed(root, source, parent, last)
            if _names_content(path):
                below = os.open(last, _FOLDER | os.O_NOFOLLOW, dir_fd=source)
                with _closing(below), _closing(_host_folder(destination, make=True)) as target:
                    work.content(below, target)
                return work.skipped
            target, new = _host_target(destination, last)
            with _closing(target):
                work.entry(source, last, target, new)
        finally:
            os.close(source)
    return work.skipped


def copy_in(pods: Pods, name: str, source: str, path: str, *, owners: bool = False) -> list[str]:
    """Copy `source` on the machine to `path` in the container, the same way; files become root's."""
    with _explained(name, path), _root(pods, name) as root:
        work = tree.Copying(owners=owners, owner=_owner(pods, name))
        if not os.path.lexists(source.rstrip("/") or "/"):
            raise NotFound(source, "no such file on this machine", hint="give a path that exists")
        if _names_content(source):
            with _closing(os.open(source, _FOLDER)) as below, _closing(_readable(root, path)) as target:
                work.content(below, target)
            return work.skipped
        real = os.path.realpath(source)
        with _closing(os.open(os.path.dirname(real), _FOLDER)) as parent:
            target, new = _inside_target(root, path, os.path.basename(os.path.abspath(source)))
            with _closing(target):
                work.entry(parent, os.path.basename(real), target, new)
    return work.skipped


def tar_out(pods: Pods, name: str, path: str, stream: IO[bytes]) -> None:
    """Write `path` of the container as a tar archive to `stream`. Raises NotFound."""
    import tarfile

    with _explained(name, path), _root(pods, name) as root:
        parent, last = _split(path)
        source = files.open_in_root(root, parent, _FOLDER)
        try:
            source, last = _followed(root, source, parent, last)
            with tarfile.open(mode="w|", fileobj=stream, format=tarfile.PAX_FORMAT) as archive:
                _pack(archive, source, last, last)
        finally:
            os.close(source)


def tar_in(pods: Pods, name: str, path: str, stream: IO[bytes]) -> None:
    """Unpack the tar archive in `stream` into the folder `path` of the container.

    Names with `..` are refused; links already there are followed within the container only. Raises Corrupt.
    """
    import tarfile

    with _explained(name, path), _root(pods, name) as root:
        os.close(_readable(root, path))
        try:
            with tarfile.open(mode="r|*", fileobj=stream) as archive:
                for member in archive:
                    _unpack(archive, member, root, path)
        except tarfile.TarError as error:
            raise Corrupt("the archive", str(error), hint="send a tar archive") from error


def _pack(archive: tarfile.TarFile, folder: int, name: str, shown: str) -> None:
    import tarfile

    status = os.stat(name, dir_fd=folder, follow_symlinks=False)
    info = tarfile.TarInfo(shown)
    info.mode = stat.S_IMODE(status.st_mode)
    info.uid, info.gid, info.mtime = status.st_uid, status.st_gid, int(status.st_mtime)
    if stat.S_ISLNK(status.st_mode):
        info.type, info.linkname = tarfile.SYMTYPE, os.readlink(name, dir_fd=folder)
        archive.addfile(info)
    elif stat.S_ISDIR(status.st_mode):
        info.type = tarfile.DIRTYPE
        archive.addfile(info)
        with _closing(os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=folder)) as below:
            for child in sorted(os.listdir(below)):
                with contextlib.suppress(FileNotFoundError):
                    _pack(archive, below, child, f"{shown}/{child}")
    elif stat.S_ISREG(status.st_mode):
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
        with os.fdopen(descriptor, "rb") as reading:
            info.size = os.fstat(descriptor).st_size
            archive.addfile(info, reading)


def _unpack(archive: tarfile.TarFile, member: tarfile.TarInfo, root: int, path: str) -> None:
    shown = member.name.strip("/")
    if ".." in shown.split("/") or "\0" in shown:
        raise Corrupt("the archive", f"{member.name!r} leads out of it", hint="do not trust this archive")
    if shown in ("", "."):
        return
    parent = inside.open_folder(root, os.path.join(path, os.path.dirname(shown)))
    name = os.path.basename(shown)
    with _closing(parent):
        if member.isdir():
            with _closing(tree.made_folder(parent, name)) as made:
                os.fchown(made, member.uid, member.gid)
                os.fchmod(made, member.mode & 0o7777)
        elif member.isreg():
            _unpack_file(archive, member, parent, name)
        elif member.issym():
            tree.clear(parent, name)
            os.symlink(member.linkname, name, dir_fd=parent)
            os.chown(name, member.uid, member.gid, dir_fd=parent, follow_symlinks=False)
        elif member.islnk():
            linked = os.path.join(path, member.linkname.strip("/"))
            with _closing(files.open_in_root(root, os.path.dirname(linked), os.O_PATH)) as folder:
                tree.clear(parent, name)
                os.link(
                    os.path.basename(linked),
                    name,
                    src_dir_fd=folder,
                    dst_dir_fd=parent,
                    follow_symlinks=False,
                )


def _unpack_file(archive: tarfile.TarFile, member: tarfile.TarInfo, parent: int, name: str) -> None:
    tree.clear(parent, name)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    reading = archive.extractfile(member)
    with os.fdopen(os.open(name, flags, 0o600, dir_fd=parent), "wb") as writing:
        while reading is not None and (data := reading.read(1024 * 1024)):
            writing.write(data)
        os.fchown(writing.fileno(), member.uid, member.gid)
        os.fchmod(writing.fileno(), member.mode & 0o7777)


@contextlib.contextmanager
def _root(pods: Pods, name: str) -> Iterator[int]:
    """A descriptor of the container's root, as its processes see it where it runs."""
    row = refresh.refreshed(pods, pods.container_row(name))
    descriptor = -1
    if row["state"] == RUNNING:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            descriptor = os.open(f"/proc/{row['pid']}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            if not refresh.alive(row["pid"], row["pid_start"]):  # the number may be another process's
                os.close(descriptor)
                descriptor = -1
    if descriptor < 0:
        descriptor = os.open(_mounted(pods, row), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    with _closing(descriptor):
        yield descriptor


def _owner(pods: Pods, name: str) -> tuple[int, int]:
    """The machine's IDs of the container's root."""
    row = pods.sandbox_row(pods.container_row(name)["sandbox_id"])
    return sandbox.owner(codec.sandbox_config(row["config"]))


def _mounted(pods: Pods, row: sqlite3.Row) -> str:
    if not codec.process(row["process"]).args:
        raise Unavailable(f"container {row['name']}", "is being made", hint="try again when it has started")
    return pods.store.mount_rootfs(row["id"])


def _split(path: str) -> tuple[str, str]:
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if not parts or parts[-1] == "..":
        return "/".join(parts) or "/", "."
    return "/" + "/".join(parts[:-1]), parts[-1]


def _names_content(path: str) -> bool:
    return path == "." or path.endswith("/.")


def _followed(root: int, source: int, parent: str, last: str) -> tuple[int, str]:
    """Where the last part is a link, what it means within the root: as cp follows its arguments."""
    for _ in range(40):
        if last == "." or not stat.S_ISLNK(os.stat(last, dir_fd=source, follow_symlinks=False).st_mode):
            return source, last
        link = os.readlink(last, dir_fd=source)
        parent = (
            os.path.dirname(link) if link.startswith("/") else os.path.join(parent, os.path.dirname(link))
        )
        last = os.path.basename(link.rstrip("/")) or "."
        if last == "..":
            parent, last = os.path.join(parent, ".."), "."
        following = files.open_in_root(root, parent or "/", _FOLDER)
        os.close(source)
        source = following
    raise Corrupt(last, "is a link to itself", hint="copy something else")


def _host_folder(path: str, *, make: bool) -> int:
    if make:
        os.makedirs(path, exist_ok=True)
    return os.open(path, _FOLDER)


def _host_target(destination: str, last: str) -> tuple[int, str]:
    if os.path.isdir(destination):
        return os.open(destination, _FOLDER), last if last != "." else "root"
    if destination.endswith("/"):
        raise NotFound(destination, "no such folder on this machine", hint="make it first")
    folder = os.path.dirname(os.path.abspath(destination))
    try:
        return os.open(folder, _FOLDER), os.path.basename(destination)
    except FileNotFoundError:
        raise NotFound(folder, "no such folder on this machine", hint="make it first") from None


def _inside_target(root: int, path: str, last: str) -> tuple[int, str]:
    """Where a copy goes: into `path` where that is a folder, else under its last part's name."""
    try:
        return files.open_in_root(root, path, _FOLDER), last
    except (FileNotFoundError, NotADirectoryError):
        if path.endswith("/"):
            raise
    parent, new = _split(path)
    return files.open_in_root(root, parent, _FOLDER), new


def _readable(root: int, path: str) -> int:
    """A readable descriptor of a folder in the container, made where absent."""
    made = inside.open_folder(root, path)
    with _closing(made):
        return os.open(".", _FOLDER, dir_fd=made)


@contextlib.contextmanager
def _closing(descriptor: int) -> Iterator[int]:
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _explained(name: str, path: str) -> Iterator[None]:
    """What the kernel says about a path, as an error that names the container."""
    subject = f"{name}:{path}"
    try:
        yield
    except OrlopError:
        raise
    except FileNotFoundError as error:
        raise NotFound(subject, "no such file or folder", hint="look with: orlop exec") from error
    except NotADirectoryError as error:
        raise InvalidInput(subject, "a part of it is not a folder", hint="choose another path") from error
    except OSError as error:
        raise Conflict(subject, str(error.strerror or error), hint="see whether it may be written") from error
