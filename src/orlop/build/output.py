"""`orlop build --output type=local|tar,dest=PATH`: the files of the result beside the image."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable

from orlop.kit import files
from orlop.kit.errors import Conflict, InvalidInput, Unavailable
from orlop.store.store import Store


def parsed(text: str) -> tuple[str, str]:
    """(type, path). Raises InvalidInput."""
    if "=" not in text:
        return ("tar", "-") if text == "-" else ("local", text)
    fields = dict(part.partition("=")[::2] for part in text.split(","))
    kind, path = fields.get("type", ""), fields.get("dest", "")
    if kind not in ("local", "tar") or (not path and kind == "local") or set(fields) - {"type", "dest"}:
        raise InvalidInput(
            f"--output {text}", "is not type=local|tar,dest=PATH", hint="write type=tar,dest=root.tar"
        )
    return kind, path or "-"


def write(store: Store, image_id: str, text: str, *, tick: Callable[[], None] = lambda: None) -> None:
    """Write the image's root to a folder (which is empty or absent), or as a tar (`-`: standard output).

    Raises InvalidInput, Conflict (there is something), Unavailable.
    """
    from orlop.store.pack.folder import Times, pack

    kind, path = parsed(text)
    with store.image_root(image_id) as root:
        try:
            if kind == "local":
                _folder(root, path)
                return
            target = os.dup(1) if path == "-" else os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
            with open(target, "wb") as stream:
                pack(root, stream.write, times=Times(), hides=lambda name: False, tick=tick, touch=False)
        except OSError as error:
            raise Unavailable(
                path, f"cannot be written: {error.strerror}", hint="see that it has room and is ours"
            ) from error


def _folder(root: str, path: str) -> None:
    if os.path.isdir(path) and os.listdir(path):
        raise Conflict(path, "is not empty", hint="name a folder that is new")
    files.make_folder(path, 0o755)
    _copied(root, path)


def _copied(source: str, target: str) -> None:
    """All of a tree: owners, modes, times, attributes, hard links."""
    links: dict[int, str] = {}
    pending = [(source, target)]
    folders: list[tuple[str, str]] = []
    while pending:
        here, there = pending.pop()
        folders.append((here, there))
        with os.scandir(here) as entries:
            for entry in entries:
                new = f"{there}/{entry.name}"
                status = entry.stat(follow_symlinks=False)
                if entry.is_dir(follow_symlinks=False):
                    os.mkdir(new)
                    pending.append((entry.path, new))
                elif status.st_nlink > 1 and status.st_ino in links:
                    os.link(links[status.st_ino], new, follow_symlinks=False)
                else:
                    links[status.st_ino] = new
                    _leaf(entry, new, status)
    for here, there in reversed(folders):
        status = os.stat(here)
        os.chown(there, status.st_uid, status.st_gid)
        shutil.copystat(here, there)


def _leaf(entry: os.DirEntry[str], new: str, status: os.stat_result) -> None:
    if entry.is_symlink():
        os.symlink(os.readlink(entry.path), new)
    elif entry.is_file(follow_symlinks=False):
        shutil.copyfile(entry.path, new, follow_symlinks=False)
    else:
        os.mknod(new, status.st_mode, status.st_rdev)
    os.chown(new, status.st_uid, status.st_gid, follow_symlinks=False)
    shutil.copystat(entry.path, new, follow_symlinks=False)
