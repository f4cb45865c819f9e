"""New user namespaces, and namespaces that they own.

A thread of ours cannot enter another user namespace (unshare(2): the process must be single-threaded), so
programs of util-linux do: the first unshare makes the user namespace and waits until we have written its
maps; then, as root in it, the second makes the others, so that what they own (message queues, /sys of the
network) belongs to that root. All that lives on is what the caller pins. Takes 4 ms.
"""

from __future__ import annotations

import contextlib
import os
import select

from orlop.kit import kernel, limits, process
from orlop.kit.errors import OrlopError, Unsupported

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    Extent = tuple[int, int, int]  # first ID inside, first ID outside, how many

_OPTIONS = {"net": "--net", "ipc": "--ipc", "uts": "--uts"}
_MAP_THEN = 'echo mapped && read -r _ && exec "$@"'
#: Arguments are pairs of a file below /proc/sys and its value.
_SET_AND_WAIT = """
while [ "$#" -gt 1 ]; do
  printf %s "$2" > "/proc/sys/$1" || { echo "the kernel refuses the sysctl $1=$2" >&2; exit 1; }
  shift 2
done
echo made && read -r _
"""


@contextlib.contextmanager
def made(
    uids: Sequence[Extent], gids: Sequence[Extent], kinds: Sequence[str], sysctls: Mapping[str, str]
) -> Iterator[int]:
    """A process, until the end of the block, in a new user namespace with new namespaces of these `kinds`.

    `kinds` are "net", "ipc" and "uts"; `sysctls` are set by the namespace's root. Raises Unsupported with
    what the kernel said.
    """
    pairs = [part for name, value in sysctls.items() for part in (name.replace(".", "/"), value)]
    argv = ["unshare", "--user", "--keep-caps", "sh", "-c", _MAP_THEN, "sh"]
    argv += ["setpriv", "--reuid=0", "--regid=0", "--clear-groups"]
    if kinds:
        argv += ["unshare", *(_OPTIONS[kind] for kind in kinds)]
    argv += ["sh", "-c", _SET_AND_WAIT, "sh", *pairs]
    words = os.memfd_create("words")
    to_read, to_write = os.pipe2(os.O_CLOEXEC)
    from_read, from_write = os.pipe2(os.O_CLOEXEC)
    opened = {words, to_read, to_write, from_read, from_write}
    child = None
    try:
        child = process.spawn(argv, stdin=to_read, stdout=from_write, stderr=words)
        for descriptor in (to_read, from_write):
            os.close(descriptor)
            opened.discard(descriptor)
        _await(from_read, b"mapped\n", words)
        _write_map(child.pid, "uid", uids)
        _write_map(child.pid, "gid", gids)
        os.write(to_write, b"\n")
        _await(from_read, b"made\n", words)
        yield child.pid
    finally:
        for descriptor in opened:
            os.close(descriptor)
        if child is not None:
            child.kill()
            child.wait()


def supported() -> bool:
    """Whether user namespaces can be made here, and file systems be mounted with their IDs, tmpfs included.

    (Linux 6.3; overlayfs on such a mount is older.) Asks the kernel; the caller keeps the answer.
    """
    try:
        with made(((0, 65536, 1),), ((0, 65536, 1),), (), {}) as pid:
            tree = kernel.new_mount("tmpfs")
            try:
                namespace = os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
                try:
                    kernel.mount_setattr(tree, user_namespace=namespace)
                finally:
                    os.close(namespace)
            finally:
                os.close(tree)
    except (OSError, OrlopError):
        return False
    return True


def _write_map(pid: int, kind: str, extents: Sequence[Extent]) -> None:
    text = "".join(f"{inside} {outside} {length}\n" for inside, outside, length in extents)
    try:
        descriptor = os.open(f"/proc/{pid}/{kind}_map", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(descriptor, text.encode())
        finally:
            os.close(descriptor)
    except OSError as error:
        raise _refused(f"{kind} map: {error.strerror}") from error


def _await(descriptor: int, word: bytes, words: int) -> None:
    """Read `word`. Raises Unsupported with what was said on the error stream instead."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    collected = b""
    while collected != word:
        data = os.read(descriptor, 64) if poll.poll(limits.RUNTIME_TIMEOUT * 1000) else b""
        if not data:
            said = os.pread(words, 4096, 0).decode(errors="replace").strip()
            raise _refused(said or "no answer from unshare")
        collected += data


def _refused(words: str) -> Unsupported:
    return Unsupported(
        "user namespace",
        words,
        hint="see that /proc/sys/user/max_user_namespaces is not 0, and that this runs as root",
    )
