"""A pod's user namespace, and the namespaces that it owns.

A thread of ours cannot enter another user namespace (unshare(2): the process must be single-threaded), so
programs of util-linux do: the first unshare makes the user namespace and waits until we have written its
maps; then, as root in it, the second makes the others, so that what they own (message queues, /sys of the
network) belongs to the pod's root. All that lives on is what the caller pins: 3.5 ms, paid by such pods only.
"""

from __future__ import annotations

import contextlib
import os
import select

from orlop.kit import limits, process
from orlop.kit.errors import InvalidInput, Unsupported
from orlop.pod.model import SandboxConfig

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from orlop.runtime.model import IDMapping

_LAST_ID = 2**32 - 2  # the one above it is "no ID"
_EXTENTS = 340  # of one map (user_namespaces(7))
_OPTIONS = {"net": "--net", "ipc": "--ipc", "uts": "--uts"}
_SIGKILL = 9
#: Arguments are pairs of a file below /proc/sys and its value, then `--` and what makes the namespaces.
_WITHIN = """
echo mapped && read -r _ && exec "$@"
"""
_SYSCTLS = """
while [ "$#" -gt 1 ]; do printf %s "$2" > "/proc/sys/$1" || exit 1; shift 2; done
echo made && read -r _
"""


def validate(config: SandboxConfig) -> None:
    """Raises InvalidInput where the pod's mappings are no user namespace, or another namespace forbids it."""
    subject = f"pod {config.name}: user namespace"
    if not config.uid_mappings and not config.gid_mappings:
        return
    shared = {"network": config.network == "host", "IPC": config.host_ipc, "PID": config.host_pid}
    for kind, is_shared in shared.items():
        if is_shared:
            raise InvalidInput(
                subject,
                f"cannot be with the host's {kind} namespace, which its root has no rights in",
                hint="leave one of the two out",
            )
    for what, mappings in (("user", config.uid_mappings), ("group", config.gid_mappings)):
        _validate(f"{subject}: {what} IDs", mappings)


def root_of(mappings: tuple[IDMapping, ...]) -> int:
    """The machine's ID of the pod's root; 0 without mappings."""
    return outside(mappings, 0)


def outside(mappings: tuple[IDMapping, ...], inside: int) -> int:
    """The machine's ID of an ID in the pod; itself without mappings. Raises InvalidInput where it has none."""
    for mapping in mappings:
        if mapping.container <= inside < mapping.container + mapping.length:
            return mapping.host + inside - mapping.container
    if not mappings:
        return inside
    raise InvalidInput(
        f"ID {inside}", "is not in the pod's user namespace", hint="choose one that its mappings have"
    )


@contextlib.contextmanager
def made(config: SandboxConfig, kinds: tuple[str, ...], sysctls: Mapping[str, str]) -> Iterator[int]:
    """A process, until the end of the block, in a new user namespace with new namespaces of these `kinds`.

    `sysctls` are set by the namespace's root. Raises Unsupported with what the kernel said.
    """
    pairs = [part for name, value in sysctls.items() for part in (name.replace(".", "/"), value)]
    inner = ["unshare", "--setgid=0", "--setuid=0", *(_OPTIONS[kind] for kind in kinds)]
    argv = ["unshare", "--user", "--keep-caps", "sh", "-c", _WITHIN, "sh"]
    argv += [*inner, "sh", "-c", _SYSCTLS, "sh", *pairs]
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
        _write_map(child.pid, "uid", config.uid_mappings)
        _write_map(child.pid, "gid", config.gid_mappings)
        os.write(to_write, b"\n")
        _await(from_read, b"made\n", words)
        yield child.pid
    finally:
        for descriptor in opened:
            os.close(descriptor)
        if child is not None:
            child.kill()
            child.wait()


def _validate(subject: str, mappings: tuple[IDMapping, ...]) -> None:
    if not mappings or len(mappings) > _EXTENTS:
        raise InvalidInput(subject, f"{len(mappings)} mappings", hint=f"give 1 to {_EXTENTS} for both kinds")
    for mapping in mappings:
        least, most = min(mapping.host, mapping.container), max(mapping.host, mapping.container)
        if least < 0 or mapping.length < 1 or most + mapping.length - 1 > _LAST_ID:
            raise InvalidInput(
                subject,
                f"{mapping.container}:{mapping.host}:{mapping.length} is out of range",
                hint=f"give IDs of 0 to {_LAST_ID}",
            )
    for side in ("host", "container"):
        ranges = sorted((getattr(mapping, side), mapping.length) for mapping in mappings)
        for (first, length), (second, _) in zip(ranges, ranges[1:], strict=False):
            if first + length > second:
                raise InvalidInput(subject, f"{second} is mapped twice", hint="give ranges side by side")
    outside(mappings, 0)
    if any(mapping.host == 0 for mapping in mappings):
        raise InvalidInput(
            subject, "the machine's root would be in it", hint="map IDs that nobody on the machine has"
        )


def _write_map(pid: int, kind: str, mappings: tuple[IDMapping, ...]) -> None:
    text = "".join(f"{m.container} {m.host} {m.length}\n" for m in mappings)
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
