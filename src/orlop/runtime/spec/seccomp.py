"""seccomp: the default profile as text that is made once, or a user's own (config-linux.md, "Seccomp")."""

from __future__ import annotations

import contextlib
import os

from orlop.kit import files, limits
from orlop.kit.errors import InvalidInput, LimitExceeded, NotFound
from orlop.runtime.model import Security

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from collections.abc import Callable

_EPERM, _ENOSYS = 1, 38
_KEYS = frozenset({"defaultAction", "defaultErrnoRet", "architectures", "flags", "syscalls"})
_IGNORED = frozenset({"comment", "defaultErrno", "archMap"})


def text(security: Security, capabilities: list[str], cache: str) -> str | None:
    """The `seccomp` part as JSON, or None for no filter. Raises InvalidInput for a bad profile."""
    if security.privileged or security.seccomp == "unconfined":
        return None
    if security.seccomp != "default":
        return _user_profile(security.seccomp)
    return _default(capabilities, cache)


def compiled(security: Security, capabilities: list[str], cache: str) -> str | None:
    """The default profile's filter in base64, for runtimes that take it; None where there is none."""
    if security.privileged or security.seccomp != "default":
        return None

    def make() -> str:
        import base64

        from orlop.runtime.spec import seccomp_bpf

        profile = default_profile(os.uname().machine, frozenset(capabilities))
        return base64.b64encode(seccomp_bpf.compiled(profile) or b"").decode()

    return _kept(capabilities, cache, "bpf", make) or None


def _default(capabilities: list[str], cache: str) -> str:
    def make() -> str:
        import json

        profile = default_profile(os.uname().machine, frozenset(capabilities))
        return json.dumps(profile, separators=(",", ":"))

    return _kept(capabilities, cache, "json", make)


def _kept(capabilities: list[str], cache: str, kind: str, make: Callable[[], str]) -> str:
    """What `make` makes, kept below `cache` and named by what it depends on: table, machine, capabilities.

    The file ends with a line feed, so that a cut one is known.
    """
    import zlib

    table = os.stat(__file__.replace("seccomp.py", "seccomp_table.py"))
    code = os.stat(__file__)
    depends = f"{os.uname().machine} {table.st_mtime_ns} {code.st_mtime_ns} {' '.join(capabilities)}"
    path = os.path.join(cache, f"seccomp-{zlib.crc32(depends.encode()):08x}.{kind}")
    try:
        with open(path, encoding="ascii") as stream:
            found = stream.read()
        if found.endswith("\n"):
            return found[:-1]
    except (OSError, UnicodeDecodeError):
        pass
    made = make()
    with contextlib.suppress(OSError):  # a cache: the container runs without it
        os.makedirs(cache, mode=0o700, exist_ok=True)
        files.write_atomic(path, made.encode() + b"\n", durable=False)
    return made


def default_profile(machine: str, capabilities: frozenset[str]) -> dict[str, object]:
    """The default profile for a machine (uname -m) and a container's effective capabilities."""
    from orlop.runtime.spec import seccomp_table as table

    allowed = {*table.ALLOWED, *table.MACHINE_CALLS.get(machine, ())}
    guarded: set[str] = set()
    for capability, names in table.CONDITIONAL.items():
        (allowed if capability in capabilities else guarded).update(names)
    rules: list[dict[str, object]] = []
    if "SYS_ADMIN" in capabilities:
        allowed |= {"clone", "clone3"}
    else:
        new_namespace = {
            "index": 0,
            "value": table.CLONE_NAMESPACES,
            "valueTwo": 0,
            "op": "SCMP_CMP_MASKED_EQ",
        }
        rules.append({"names": ["clone"], "action": "SCMP_ACT_ALLOW", "args": [new_namespace]})
        # A filter cannot see clone3's flags; ENOSYS makes the C library use clone.
        rules.append({"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": _ENOSYS})
    rules += [
        {
            "names": ["personality"],
            "action": "SCMP_ACT_ALLOW",
            "args": [{"index": 0, "value": value, "valueTwo": 0, "op": "SCMP_CMP_EQ"}],
        }
        for value in table.PERSONALITIES
    ]
    not_vsock = {"index": 0, "value": table.AF_VSOCK, "valueTwo": 0, "op": "SCMP_CMP_NE"}
    rules.append({"names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": [not_vsock]})
    refused = sorted((guarded | set(table.DENIED)) - allowed)
    return {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": _ENOSYS,
        "architectures": list(table.ARCHITECTURES.get(machine, ())),
        "syscalls": [
            {"names": sorted(allowed), "action": "SCMP_ACT_ALLOW"},
            {"names": refused, "action": "SCMP_ACT_ERRNO", "errnoRet": _EPERM},
            *rules,
        ],
    }


def _user_profile(path: str) -> str:
    """A profile file in the OCI form. A listener's socket would be a way to the machine, so it is refused."""
    import json

    subject = f"seccomp profile {path}"
    if not path.startswith("/"):
        raise InvalidInput(
            subject, "is not absolute", hint='give "default", "unconfined" or an absolute path'
        )
    try:
        given = json.loads(files.read_bounded(path, limits.CONFIG_FILE_SIZE))
    except FileNotFoundError:
        raise NotFound(subject, "no such file", hint="put the profile there") from None
    except (OSError, ValueError, RecursionError, LimitExceeded) as error:
        raise InvalidInput(subject, f"cannot be read: {error}", hint="give a JSON file") from error
    if not isinstance(given, dict):
        raise InvalidInput(subject, "is no JSON object", hint="see the OCI runtime-spec, Seccomp")
    unknown = set(given) - _KEYS - _IGNORED
    if unknown:
        raise InvalidInput(
            subject, f"has keys that are not allowed: {', '.join(sorted(unknown))}", hint="leave them out"
        )
    if not _is_action(given.get("defaultAction")):
        raise InvalidInput(subject, "has no defaultAction", hint="such as SCMP_ACT_ERRNO")
    rules = given.get("syscalls", [])
    if not isinstance(rules, list) or not all(_is_rule(rule) for rule in rules):
        raise InvalidInput(subject, "has a rule without names and action", hint="see the OCI runtime-spec")
    return json.dumps({key: value for key, value in given.items() if key in _KEYS})


def _is_action(value: object) -> bool:
    return isinstance(value, str) and value.startswith("SCMP_ACT_") and value != "SCMP_ACT_NOTIFY"


def _is_rule(rule: object) -> bool:
    if not isinstance(rule, dict) or not _is_action(rule.get("action")):
        return False
    names = rule.get("names")
    return isinstance(names, list) and all(isinstance(name, str) for name in names)
