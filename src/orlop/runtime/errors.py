"""The runtime's own failures, for those who must tell them apart (exit codes 125 to 127 of `run`)."""

from __future__ import annotations

from orlop.kit.errors import InvalidInput, OrlopError, Unsupported


class RuntimeFailed(OrlopError):
    """The OCI runtime or conmon said no; `cause` is what it said."""


class CommandNotFound(InvalidInput):
    """The program that the container was to run is not in its file system (exit code 127 of `run`)."""


class CommandDenied(InvalidInput):
    """The program is there but cannot be executed (exit code 126 of `run`)."""


_ABSENT = (
    "no such file or directory",
    "executable file not found",
    "executable file `",
    "not found in $path",
)
_DENIED = ("permission denied", "operation not permitted", "exec format error", "is a directory")


def explained(identifier: str, program: str, words: str) -> OrlopError:
    """The error that the runtime's last words mean, for the container `identifier`."""
    subject = f"container {identifier[:12]}"
    lower = words.lower()
    if "cgroup" in lower and ("hugetlb" in lower or "hybrid" in lower or "invalid cgroup" in lower):
        return hybrid(words)
    about_program = "exec" in lower and (f"{program.lower()}`" in lower or f'"{program.lower()}"' in lower)
    if about_program or lower.startswith(("exec ", "executable", "open executable")):
        if any(sign in lower for sign in _DENIED):
            return CommandDenied(
                subject, f"{program} cannot be executed: {words}", hint="make it executable, or name another"
            )
        if any(sign in lower for sign in _ABSENT):
            return CommandNotFound(
                subject,
                f"{program} is not in its file system: {words}",
                hint="check the command's spelling and the image's PATH",
            )
    return RuntimeFailed(subject, words or "the runtime gave no reason", hint="see the words of the runtime")


def hybrid(words: str) -> Unsupported:
    """crun on hybrid cgroup v1 without the hugetlb controller (design.md, "What the machines are")."""
    return Unsupported(
        "this machine's cgroups",
        f"v1 without the hugetlb controller, which crun wants ({words})",
        hint="mkdir -p /sys/fs/cgroup/hugetlb && mount -t cgroup -o hugetlb hugetlb /sys/fs/cgroup/hugetlb",
    )
