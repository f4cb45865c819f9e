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
    if "cgroup" in lower and "hybrid" in lower:
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


def hybrid(words: str, root: str = "/sys/fs/cgroup") -> Unsupported:
    """crun on hybrid cgroup v1 with controllers left in v2 (design.md, "What the machines are")."""
    try:
        with open(f"{root}/unified/cgroup.controllers", encoding="ascii") as stream:
            left = stream.read().split()
    except OSError:
        left = []
    controllers = left or ["hugetlb"]
    orders = [
        f"mkdir -p {root}/{name} && mount -t cgroup -o {name} {name} {root}/{name}" for name in controllers
    ]
    return Unsupported(
        "this machine's cgroups",
        f"v1, but with {', '.join(controllers)} left to v2, and crun refuses that mixture ({words})",
        hint="run: " + " && ".join(orders),
    )
