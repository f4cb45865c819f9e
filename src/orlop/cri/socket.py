"""The daemon's Unix socket: where it is, whose it is, and that only one daemon has it."""

from __future__ import annotations

import contextlib
import grp
import os
import stat
from collections.abc import Iterator

from orlop.cri.settings import CriSettings
from orlop.kit import locks
from orlop.kit.errors import Conflict, Denied, InvalidInput
from orlop.kit.node import Node

_LONGEST = 107  # bytes of a Unix socket's address, unix(7)


def path_of(listen: str, node: Node) -> str:
    """The path that `listen` names (`unix:///PATH` or `/PATH`); "": the node's own. Raises InvalidInput."""
    path = listen.removeprefix("unix://") if listen else node.in_state("orlop.sock")
    if not path.startswith("/") or path.endswith("/") or "\0" in path:
        raise InvalidInput(
            f"listen {listen}", "is not the address of a Unix socket", hint="write it as unix:///PATH"
        )
    if len(os.fsencode(path)) > _LONGEST:
        raise InvalidInput(
            path, f"is longer than {_LONGEST} bytes, so no socket can have it", hint="choose a shorter path"
        )
    return path


def validate(settings: CriSettings) -> None:
    """Raises InvalidInput where owner or mode are wrong."""
    mode_of(settings)
    group_of(settings)


def mode_of(settings: CriSettings) -> int:
    """Raises InvalidInput."""
    try:
        mode = int(settings.socket_mode, 8)
    except ValueError:
        mode = -1
    if not 0 <= mode <= 0o777:
        raise InvalidInput(
            f"[cri] socket_mode {settings.socket_mode!r}", "is not octal", hint='write it as "0660"'
        )
    return mode


def group_of(settings: CriSettings) -> int:
    """Raises InvalidInput."""
    try:
        if settings.socket_group.isdecimal():
            return int(settings.socket_group)
        return grp.getgrnam(settings.socket_group).gr_gid
    except KeyError as error:
        raise InvalidInput(
            f"[cri] socket_group {settings.socket_group!r}", "no such group", hint="name one of /etc/group"
        ) from error


@contextlib.contextmanager
def own(path: str) -> Iterator[None]:
    """Have this address to ourselves for the `with` block: a dead daemon's file is removed.

    Raises Conflict where a daemon lives, and Denied where others may write into its folder.
    """
    folder = os.path.dirname(path)
    os.makedirs(folder, mode=0o711, exist_ok=True)
    check_folder(folder)
    with locks.attempt(f"{path}.lock") as held:
        if not held:
            raise Conflict(path, "another daemon listens there", hint=f"see which with: fuser -v {path}.lock")
        _clear(path)
        try:
            yield
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)


def check_folder(folder: str) -> None:
    """Raises Denied where others may write into the socket's folder."""
    status = os.stat(folder)
    others = status.st_mode & 0o002 or (status.st_mode & 0o020 and status.st_gid not in (0, os.getegid()))
    if status.st_uid not in (0, os.geteuid()) or others:
        raise Denied(
            folder, "others may write into it, and so replace the socket", hint="choose a folder of root's"
        )


def hand_over(path: str, settings: CriSettings) -> None:
    """Give the socket the owner and mode that the configuration says."""
    os.chown(path, 0, group_of(settings))
    os.chmod(path, mode_of(settings))


def _clear(path: str) -> None:
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise Conflict(path, "is there and is no socket", hint="remove it, or choose another path")
        os.unlink(path)
    except FileNotFoundError:
        pass
