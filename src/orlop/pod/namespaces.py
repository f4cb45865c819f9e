"""A pod's namespaces (network, IPC, UTS; user and PID where it has them), pinned by bind mounts below
`<state>/namespaces/<sandbox id>/`.

No process keeps them alive: a thread of ours makes them with unshare(2) (0.9 ms in all; a program of its own
needs 3.5), sets the host name, the loopback interface and the pod's sysctls from within, and ends. The folder
is a private mount of itself, so no pin ever shows up in another mount namespace, where it would be kept alive
after we let go. The pod's shared memory (/dev/shm) is mounted there too: it belongs to the IPC namespace.
"""

from __future__ import annotations

import contextlib
import errno
import os
import threading
from collections.abc import Callable, Mapping

from orlop.kit import kernel, limits, locks
from orlop.kit.errors import Unsupported
from orlop.kit.node import Node

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from collections.abc import Iterator

    from orlop.pod.model import SandboxConfig

_FLAGS = {"net": kernel.CLONE_NEWNET, "ipc": kernel.CLONE_NEWIPC, "uts": kernel.CLONE_NEWUTS}
#: Everybody may ping without CAP_NET_RAW, which containers lack: as containerd and podman have it.
_PING = ("net.ipv4.ping_group_range", "0 2147483647")
_SHM_FLAGS = kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC


def folder(node: Node, sandbox_id: str) -> str:
    """Where the sandbox's pins are."""
    return node.in_state("namespaces", sandbox_id)


def pin(
    node: Node,
    sandbox_id: str,
    kinds: tuple[str, ...],
    *,
    hostname: str,
    sysctls: Mapping[str, str],
    mapped: SandboxConfig | None = None,
) -> None:
    """Make and pin namespaces of these `kinds` ("net", "ipc", "uts").

    The host name and the sysctls (validated by the caller) are set within. With a `mapped` pod they belong
    to a user namespace with its mappings, which is pinned too ("user"). Raises Unsupported where the kernel
    refuses one. Undo with `unpin`, also after a failure.
    """
    make_private(node.in_state("namespaces"))
    place = folder(node, sandbox_id)
    os.makedirs(place, mode=0o700, exist_ok=True)
    if not is_mount(place):  # so that all below it is let go of at once: the kernel waits at each unmount
        kernel.mount(place, place, "", kernel.MS_BIND)
    if mapped is not None:
        _pin_mapped(place, kinds, hostname, sysctls, mapped)
    elif kinds:
        in_thread(lambda: _pin(place, kinds, hostname, sysctls))


def mount_shm(node: Node, sandbox_id: str, owner: tuple[int, int] = (0, 0)) -> None:
    """The shared memory of the pod's containers, limits.SHM_SIZE bytes at most, its root the `owner`'s."""
    target = os.path.join(folder(node, sandbox_id), "shm")
    os.makedirs(target, exist_ok=True)
    options = f"mode=1777,size={limits.SHM_SIZE}"
    if owner != (0, 0):
        options += f",uid={owner[0]},gid={owner[1]}"
    kernel.mount("shm", target, "tmpfs", _SHM_FLAGS, options)


def mount_files(node: Node, sandbox_id: str) -> None:
    """Where the pod's files are (pod/etc.py), limits.POD_FILES bytes at most.

    Its containers may write into them, and would fill the machine's /run otherwise (CVE-2020-8557's class).
    """
    target = os.path.join(folder(node, sandbox_id), "etc")
    os.makedirs(target, exist_ok=True)
    kernel.mount("etc", target, "tmpfs", _SHM_FLAGS, f"mode=0700,size={limits.POD_FILES},nr_inodes=16")


def pin_pid(node: Node, sandbox_id: str, pid: int) -> None:
    """Pin the PID namespace of the pod's init, so that its containers can join it."""
    _bind(f"/proc/{pid}/ns/pid", os.path.join(folder(node, sandbox_id), "pid"))


@contextlib.contextmanager
def pinned(node: Node, sandbox_id: str, name: str, namespace: int) -> Iterator[str]:
    """The path of a pin, for the block, of the namespace that is open as the descriptor `namespace`."""
    path = os.path.join(folder(node, sandbox_id), name)
    _bind(f"/proc/self/fd/{namespace}", path)
    try:
        yield path
    finally:
        detach(path)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)


def unpin(node: Node, sandbox_id: str) -> None:
    """Let go of everything below the sandbox's folder, and remove it. Asked twice is harmless."""
    place = folder(node, sandbox_id)
    detach(place)
    try:
        names = os.listdir(place)
    except FileNotFoundError:
        return
    for name in names:
        path = os.path.join(place, name)
        detach(path)
        with contextlib.suppress(FileNotFoundError):
            os.rmdir(path) if os.path.isdir(path) else os.unlink(path)
    with contextlib.suppress(FileNotFoundError):
        os.rmdir(place)


def make_private(path: str) -> None:
    """`path` is a private mount afterwards, made once by whoever is first."""
    if is_mount(path):
        return
    os.makedirs(path, mode=0o700, exist_ok=True)
    with locks.hold(os.path.join(os.path.dirname(path), "locks", "private-mount")):
        if not is_mount(path):
            kernel.mount(path, path, "", kernel.MS_BIND)
            kernel.mount("", path, "", kernel.MS_PRIVATE)


def release(node: Node) -> None:
    """Unmount the folder of pins itself if it is empty."""
    path = node.in_state("namespaces")
    try:
        if os.listdir(path):
            return
    except FileNotFoundError:
        return
    while is_mount(path):
        kernel.umount(path, kernel.MNT_DETACH)
    with contextlib.suppress(OSError):
        os.rmdir(path)


def detach(path: str) -> None:
    """Unmount all that is stacked on `path`; nothing mounted or nothing there is fine."""
    while True:
        try:
            kernel.umount(path, kernel.MNT_DETACH)
        except OSError as error:
            if error.errno in (errno.EINVAL, errno.ENOENT):
                return
            raise


def is_mount(path: str) -> bool:
    """Whether something is mounted on `path` itself (bind mounts included, which st_dev does not tell)."""
    parent, name = os.path.split(path)
    try:
        directory = os.open(parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        os.close(kernel.openat2(directory, name, os.O_PATH, resolve=kernel.RESOLVE_NO_XDEV))
    except OSError as error:
        if error.errno == errno.ENOENT:
            return False
        if error.errno == errno.EXDEV:
            return True
        raise
    finally:
        os.close(directory)
    return False


def in_thread(work: Callable[[], None]) -> None:
    """Run `work` in a thread of its own, which may change its namespaces and then ends; errors come here."""
    failure: list[BaseException] = []

    def guarded() -> None:
        try:
            work()
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=guarded, name="namespaces")
    thread.start()
    thread.join()
    if failure:
        raise failure[0]


def enter(path: str, work: Callable[[], None]) -> None:
    """Run `work` inside the pinned namespace at `path`."""

    def entered() -> None:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            kernel.setns(descriptor)
        finally:
            os.close(descriptor)
        work()

    in_thread(entered)


def _pin(place: str, kinds: tuple[str, ...], hostname: str, sysctls: Mapping[str, str]) -> None:
    flags = 0
    for kind in kinds:
        flags |= _FLAGS[kind]
    try:
        kernel.unshare(flags)
    except OSError as error:
        raise Unsupported(
            "namespaces",
            f"{', '.join(kinds)}: {error.strerror}",
            hint="run as root, on a kernel with namespaces",
        ) from error
    _furnish(kinds, hostname, sysctls)
    for kind in kinds:
        _bind(f"/proc/thread-self/ns/{kind}", os.path.join(place, kind))


def _pin_mapped(
    place: str, kinds: tuple[str, ...], hostname: str, sysctls: Mapping[str, str], pod: SandboxConfig
) -> None:
    """As `_pin`, by a process in a user namespace; a thread of ours then furnishes what was pinned."""
    from orlop.kit import user_namespace
    from orlop.pod.user_namespace import extents

    uids, gids = extents(pod.uid_mappings), extents(pod.gid_mappings)
    network = {name: value for name, value in sysctls.items() if name.startswith("net.")}
    others = {name: value for name, value in sysctls.items() if name not in network}
    with user_namespace.made(uids, gids, kinds, others) as pid:
        for kind in ("user", *kinds):
            _bind(f"/proc/{pid}/ns/{kind}", os.path.join(place, kind))

    def entered() -> None:
        for kind in kinds:
            descriptor = os.open(os.path.join(place, kind), os.O_RDONLY | os.O_CLOEXEC)
            try:
                kernel.setns(descriptor)
            finally:
                os.close(descriptor)
        _furnish(kinds, hostname, network)

    in_thread(entered)


def _furnish(kinds: tuple[str, ...], hostname: str, sysctls: Mapping[str, str]) -> None:
    """What new namespaces lack, set by a thread that is in them."""
    if "uts" in kinds and hostname:
        _write("/proc/sys/kernel/hostname", hostname)
    if "net" in kinds:
        from orlop.network import loopback

        loopback.up_here()
        _set_sysctl(*_PING)
    for name, value in sysctls.items():
        _set_sysctl(name, value)


def _set_sysctl(name: str, value: str) -> None:
    try:
        _write("/proc/sys/" + name.replace(".", "/"), value)
    except OSError as error:
        raise Unsupported(
            f"sysctl {name}={value}",
            f"the kernel says: {error.strerror}",
            hint=f"see its present value with: sysctl {name}",
        ) from error


def _write(path: str, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)


def _bind(source: str, target: str) -> None:
    os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
    kernel.mount(source, target, "", kernel.MS_BIND)
