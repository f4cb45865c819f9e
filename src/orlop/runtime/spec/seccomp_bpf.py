"""The seccomp filter as the kernel takes it: compiled once by libseccomp(3), then kept.

crun before 1.11 compiles the profile for every container, which takes it 30 ms; its annotation
`run.oci.seccomp_bpf_data` (crun(1)) takes a finished filter instead. libseccomp is where crun is.
"""

from __future__ import annotations

import contextlib
import ctypes
import os

_ACTIONS = {
    "SCMP_ACT_KILL": 0x00000000,
    "SCMP_ACT_KILL_THREAD": 0x00000000,
    "SCMP_ACT_KILL_PROCESS": 0x80000000,
    "SCMP_ACT_TRAP": 0x00030000,
    "SCMP_ACT_ERRNO": 0x00050000,
    "SCMP_ACT_TRACE": 0x7FF00000,
    "SCMP_ACT_LOG": 0x7FFC0000,
    "SCMP_ACT_ALLOW": 0x7FFF0000,
}
_COMPARISONS = {
    name: number
    for number, name in enumerate(
        (
            "SCMP_CMP_NE",
            "SCMP_CMP_LT",
            "SCMP_CMP_LE",
            "SCMP_CMP_EQ",
            "SCMP_CMP_GE",
            "SCMP_CMP_GT",
            "SCMP_CMP_MASKED_EQ",
        ),
        start=1,
    )
}
_UNKNOWN = -1
_OPTIMIZE, _BINARY_TREE = 8, 2
_EXISTS = -17


class _Comparison(ctypes.Structure):
    _fields_ = (
        ("arg", ctypes.c_uint),
        ("op", ctypes.c_int),
        ("a", ctypes.c_uint64),
        ("b", ctypes.c_uint64),
    )


def compiled(profile: dict[str, object]) -> bytes | None:
    """The filter's instructions; None where this machine cannot make them (then the runtime does)."""
    library = _library()
    if library is None:
        return None
    context = library.seccomp_init(ctypes.c_uint32(_action(profile["defaultAction"], profile)))
    if not context:
        return None
    try:
        library.seccomp_attr_set(ctypes.c_void_p(context), _OPTIMIZE, ctypes.c_uint32(_BINARY_TREE))
        return _exported(library, context) if _filled(library, context, profile) else None
    finally:
        library.seccomp_release(ctypes.c_void_p(context))


def _filled(library: ctypes.CDLL, context: int, profile: dict[str, object]) -> bool:
    architectures, rules = profile["architectures"], profile["syscalls"]
    assert isinstance(architectures, list)
    assert isinstance(rules, list)
    for name in architectures:
        token = library.seccomp_arch_resolve_name(name.removeprefix("SCMP_ARCH_").lower().encode())
        if not token or library.seccomp_arch_add(ctypes.c_void_p(context), ctypes.c_uint32(token)) not in (
            0,
            _EXISTS,
        ):
            return False
    default = _action(profile["defaultAction"], profile)
    # libseccomp refuses rules that say what the default says anyway.
    told = [rule for rule in rules if _action(rule["action"], rule) != default]
    return all(_add(library, context, rule) for rule in told)


def _add(library: ctypes.CDLL, context: int, rule: dict[str, object]) -> bool:
    names, given = rule["names"], rule.get("args", [])
    assert isinstance(names, list)
    assert isinstance(given, list)
    comparisons = (_Comparison * len(given))(
        *(
            _Comparison(item["index"], _COMPARISONS[item["op"]], item["value"], item.get("valueTwo", 0))
            for item in given
        )
    )
    action = ctypes.c_uint32(_action(rule["action"], rule))
    for name in names:
        number = library.seccomp_syscall_resolve_name(name.encode())
        if number == _UNKNOWN:
            continue  # newer than this libseccomp: the default action answers it
        if library.seccomp_rule_add_array(
            ctypes.c_void_p(context), action, number, ctypes.c_uint(len(given)), comparisons
        ):
            return False
    return True


def _exported(library: ctypes.CDLL, context: int) -> bytes | None:
    descriptor = os.memfd_create("seccomp")
    try:
        if library.seccomp_export_bpf(ctypes.c_void_p(context), descriptor):
            return None
        return os.pread(descriptor, os.fstat(descriptor).st_size, 0)
    finally:
        os.close(descriptor)


def _action(name: object, holder: dict[str, object]) -> int:
    number = holder.get("errnoRet", holder.get("defaultErrnoRet", 1))
    assert isinstance(name, str)
    assert isinstance(number, int)
    return _ACTIONS[name] | (number if name == "SCMP_ACT_ERRNO" else 0)


def _library() -> ctypes.CDLL | None:
    with contextlib.suppress(OSError):
        library = ctypes.CDLL("libseccomp.so.2", use_errno=True)
        library.seccomp_init.restype = ctypes.c_void_p
        library.seccomp_arch_resolve_name.restype = ctypes.c_uint32
        return library
    return None
