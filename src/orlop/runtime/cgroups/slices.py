"""systemd's names of control groups and the kernel's paths of them (systemd.slice(5), systemd.scope(5)).

    kubepods-podX.slice                 /kubepods.slice/kubepods-podX.slice
    SLICE:orlop:ID (OCI cgroupsPath)    PATH OF SLICE/orlop-ID.scope

All of Orlop knows a group by the kernel's path; only systemd and OCI runtimes hear names.
"""

from __future__ import annotations

from orlop.kit.errors import InvalidInput

PREFIX = "orlop"
_SLICE, _SCOPE = ".slice", ".scope"
_LONGEST = 255  # systemd's bound of a unit's name
_NAME = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:-_.\\@")


def path_of_slice(name: str) -> str:
    """The kernel's path of a slice: each dash is a step down. Raises InvalidInput."""
    if name == "-.slice":
        return ""
    stem = name.removesuffix(_SLICE)
    parts = stem.split("-")
    if not name.endswith(_SLICE) or "" in parts or len(name) > _LONGEST or not _NAME.issuperset(name):
        raise InvalidInput(f"slice {name[:80]!r}", "is no slice of systemd", hint="write it as a-b.slice")
    return "".join(f"/{'-'.join(parts[: count + 1])}{_SLICE}" for count in range(len(parts)))


def scope(slice_path: str, name: str) -> str:
    """The kernel's path of Orlop's scope `name` in a slice."""
    return f"{slice_path}/{PREFIX}-{name}{_SCOPE}"


def own_slice(*parts: str) -> str:
    """The kernel's path of a slice of ours: `parts` are its levels, in which a dash is none."""
    return path_of_slice("-".join(part.replace("-", "_") for part in parts) + _SLICE)


def for_runtime(path: str) -> str:
    """`cgroupsPath` of config.json for the group at `path`, under systemd's management."""
    *above, name = path.strip("/").split("/")
    if above and above[-1].endswith(_SLICE) and name.startswith(f"{PREFIX}-") and name.endswith(_SCOPE):
        return f"{above[-1]}:{PREFIX}:{name[len(PREFIX) + 1 : -len(_SCOPE)]}"
    stem = "-".join(part.removesuffix(_SLICE).replace("-", "_") for part in above)
    return f"{stem or 'system'}{_SLICE}:{PREFIX}:{name}"


def from_runtime(text: str) -> str:
    """The inverse of `for_runtime`, and a path as it is; "" for what is neither."""
    if text.startswith("/"):
        return text
    parts = text.split(":")
    if len(parts) != 3 or not parts[2]:
        return ""
    above, prefix, name = parts
    try:
        folder = path_of_slice(above or "system.slice")
    except InvalidInput:
        return ""
    if name.endswith(_SLICE):
        return f"{folder}/{name}"
    return f"{folder}/{prefix}-{name}{_SCOPE}" if prefix else f"{folder}/{name}{_SCOPE}"


def parent(asked: str, *, systemd: bool) -> str:
    """The kernel's path of a pod's parent group as somebody asked for it. Raises InvalidInput.

    Under systemd: a slice's name, or its whole path, whose last part is its name. Else a path, which may lack
    its first slash. The two do not mix: who asks and this node would not mean the same group.
    """
    subject = f"cgroup parent {asked[:200]!r}"
    name = asked.rstrip("/").rpartition("/")[2]
    if systemd:
        if not name.endswith(_SLICE):
            raise InvalidInput(
                subject,
                "is no slice, and this node's cgroups are systemd's",
                hint="set cgroupDriver: systemd",
            )
        return path_of_slice(name)
    if name.endswith(_SLICE):
        raise InvalidInput(
            subject, "is systemd's, and this node's cgroups are not", hint="set cgroupDriver: cgroupfs"
        )
    path = "/" + asked.strip("/")
    parts = path.split("/")[1:]
    if {"", ".", ".."} & set(parts) or not path.isprintable() or len(path) > 4096:
        raise InvalidInput(subject, "is no path of a cgroup", hint="write it as /a/b")
    return path
