"""The `process` part: arguments, environment, user, limits."""

from __future__ import annotations

from orlop.kit.errors import InvalidInput
from orlop.runtime.model import ContainerSpec
from orlop.runtime.rights import Rights
from orlop.runtime.spec import labels
from orlop.runtime.users import User

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_RLIMITS = frozenset(
    f"RLIMIT_{name}"
    for name in [
        "AS",
        "CORE",
        "CPU",
        "DATA",
        "FSIZE",
        "LOCKS",
        "MEMLOCK",
        "MSGQUEUE",
        "NICE",
        "NOFILE",
        "NPROC",
        "RSS",
        "RTPRIO",
        "RTTIME",
        "SIGPENDING",
        "STACK",
    ]
)


def process(
    spec: ContainerSpec, user: User, capabilities: list[str], ambient: list[str], rights: Rights
) -> dict[str, object]:
    """config.md, "Process". `capabilities` (without CAP_) are the bounding, effective and permitted sets."""
    asked = spec.process
    if not asked.args or not asked.args[0]:
        raise InvalidInput(
            f"container {spec.id[:12]}",
            "has no command: neither the image nor the request names one",
            hint="give a command",
        )
    names = [f"CAP_{name}" for name in capabilities]
    # Inheritable is empty but for what the kernel wants there of an ambient one (CVE-2022-27652); without
    # root, nothing but those is effective at first.
    kept = [f"CAP_{name}" for name in ambient]
    sets = {"bounding": names, "effective": names, "permitted": names, "inheritable": kept, "ambient": kept}
    part: dict[str, object] = {
        "terminal": asked.terminal,
        "user": {"uid": user.uid, "gid": user.gid, "additionalGids": list(user.groups)},
        "args": [checked("the command", arg) for arg in asked.args],
        "env": environment(asked.env, user.home, terminal=asked.terminal, hostname=spec.hostname),
        "cwd": working_folder(asked.cwd),
        "capabilities": sets,
        "noNewPrivileges": spec.security.no_new_privileges,
    }
    part.update(labels.of_process(spec.security))
    score = spec.resources.oom_score_adj
    if score is not None:
        if not -1000 <= score <= 1000:
            raise InvalidInput("oom_score_adj", f"{score} is out of range", hint="give -1000 to 1000")
        part["oomScoreAdj"] = rights.oom_score(score)
    if spec.rlimits:
        part["rlimits"] = [_rlimit(name, *values, rights) for name, values in sorted(spec.rlimits.items())]
    return part


def environment(env: tuple[str, ...], home: str, *, terminal: bool, hostname: str = "") -> list[str]:
    """The variables, a later one of the same name winning, and those that every process expects."""
    known: dict[str, str] = {"PATH": PATH}
    if terminal:
        known["TERM"] = "xterm"
    if hostname:
        known["HOSTNAME"] = hostname
    for entry in env:
        name, equals, value = checked("the environment", entry).partition("=")
        if not name or not equals:
            raise InvalidInput(
                f"environment variable {entry!r}", "is not NAME=value", hint="write NAME=value"
            )
        known[name] = value
    known.setdefault("HOME", home)
    return [f"{name}={value}" for name, value in known.items()]


def working_folder(path: str) -> str:
    if path and not path.startswith("/"):
        raise InvalidInput(f"working folder {path}", "is not absolute", hint="start it with /")
    return checked("the working folder", path) or "/"


def checked(what: str, text: str) -> str:
    """`text`, if a C string can hold it and JSON can carry it."""
    if "\0" in text:
        raise InvalidInput(what, "contains a NUL character", hint="take it out")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InvalidInput(what, "is not UTF-8", hint="the OCI runtime takes UTF-8 only") from None
    return text


def _rlimit(name: str, soft: int, hard: int, rights: Rights) -> dict[str, object]:
    full = name.upper() if name.upper().startswith("RLIMIT_") else f"RLIMIT_{name.upper()}"
    if full not in _RLIMITS:
        raise InvalidInput(f"resource limit {name}", "no such limit", hint="see getrlimit(2)")
    soft, hard = rights.rlimit(full, soft, hard)
    most = 2**64 - 1  # RLIM_INFINITY
    return {"type": full, "soft": soft if soft >= 0 else most, "hard": hard if hard >= 0 else most}
