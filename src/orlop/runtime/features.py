"""What an OCI runtime can do: its own `features`, asked once, or what its version is known to promise.

OCI runtime-spec, features.md. The answer is kept below the node's state folder, keyed by the binary.
"""

from __future__ import annotations

import json
import os

from orlop.kit import files, kernel, process, user_namespace
from orlop.kit.errors import NotFound, OrlopError
from orlop.kit.value import dataclass

#: The newest runtime-spec that Orlop writes.
OURS = (1, 2, 0)
_BASE_OPTIONS = frozenset(
    [
        "ro",
        "rw",
        "bind",
        "rbind",
        "private",
        "rprivate",
        "slave",
        "rslave",
        "shared",
        "rshared",
        "nosuid",
        "nodev",
        "noexec",
    ]
)


@dataclass(frozen=True)
class Features:
    """`spec_version` is the ociVersion to write; `name` is "crun", "runc", "youki" or the program's own."""

    path: str
    name: str
    spec_version: str
    mount_options: frozenset[str]
    asked: bool  # whether the runtime said so itself
    recursive_read_only: bool = False  # whether it and this kernel know `rro`
    user_namespaces: bool = False  # whether it joins one, and this kernel mounts what a pod in one needs


def find(program: str) -> str:
    """The absolute path of a runtime. Raises NotFound."""
    if os.path.isabs(program):
        if os.access(program, os.X_OK):
            return program
    else:
        for folder in process.MINIMAL_ENV["PATH"].split(":"):
            path = os.path.join(folder, program)
            if os.access(path, os.X_OK):
                return path
    raise NotFound(
        f"OCI runtime {program}",
        "no such program",
        hint=f"install the package {os.path.basename(program)}, or set path in [runtime]",
    )


def features(runtime_path: str, cache_dir: str) -> Features:
    """Of the binary `runtime_path`; the second time from `cache_dir`. Raises NotFound."""
    try:
        found = os.stat(runtime_path)
    except OSError as error:
        raise NotFound(f"OCI runtime {runtime_path}", "no such program", hint="install it") from error
    key = f"{runtime_path.strip('/').replace('/', '-')}-{found.st_mtime_ns}-{found.st_size}"
    cached = os.path.join(cache_dir, f"features-{key}.json")
    try:
        with open(cached, "rb") as stream:
            return _decode(runtime_path, json.loads(stream.read()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass  # absent or damaged: asked again
    answer = _ask(runtime_path)
    os.makedirs(cache_dir, mode=0o700, exist_ok=True)
    files.write_atomic(cached, json.dumps(answer).encode(), durable=False)
    return _decode(runtime_path, answer)


def _ask(path: str) -> dict[str, object]:
    """The runtime's answer in the form that the cache has."""
    version = process.run([path, "--version"], timeout=20, check=False).text
    name = version.split()[0].lower() if version.split() else os.path.basename(path)
    answer: dict[str, object] = {"name": name, "max": "", "options": [], "asked": False}
    answer["version"] = version.partition("version ")[2].split()[:1]
    answer["mapped"] = user_namespace.supported()
    answer["recursive"] = _sets_attributes()
    try:
        done = process.run([path, "features"], timeout=20, check=False)
        said = json.loads(done.stdout) if done.status == 0 else None
    except (OrlopError, ValueError):
        said = None
    if isinstance(said, dict) and isinstance(said.get("ociVersionMax"), str):
        options = said.get("mountOptions")
        answer |= {
            "max": said["ociVersionMax"],
            "options": [o for o in options if isinstance(o, str)] if isinstance(options, list) else [],
            "asked": True,
            "mapped": answer["mapped"] and _joins_users(said),
        }
        return answer
    for line in version.splitlines():
        if line.startswith("spec:"):
            answer["max"] = line.split(":", 1)[1].strip()
    return answer


def _decode(path: str, answer: dict[str, object]) -> Features:
    name, newest, options = str(answer["name"]), str(answer["max"]), answer["options"]
    assert isinstance(options, list)
    version = answer["version"]
    assert isinstance(version, list)
    knows = "rro" in options or (name == "crun" and not options and _number(version) >= (1, 4))
    return Features(
        path=path,
        name=name,
        spec_version=newest_common(newest),
        mount_options=frozenset(options) or _BASE_OPTIONS,
        asked=bool(answer["asked"]),
        recursive_read_only=knows and bool(answer["recursive"]),
        user_namespaces=bool(answer["mapped"]),
    )


def _joins_users(said: dict[str, object]) -> bool:
    """Whether the runtime's answer has user namespaces; one that does not tell is believed to."""
    linux = said.get("linux")
    kinds = linux.get("namespaces") if isinstance(linux, dict) else None
    return not isinstance(kinds, list) or "user" in kinds


def _number(version: list[str]) -> tuple[int, ...]:
    """`1.8.1` as numbers; () where it is none."""
    parts = version[0].split(".") if version else []
    return tuple(int(part) for part in parts if part.isdecimal())


def _sets_attributes() -> bool:
    """Whether the kernel has mount_setattr(2), by which a runtime makes a whole tree read-only."""
    try:
        tree = kernel.open_tree("/")
        try:
            kernel.mount_setattr(tree, attributes=kernel.MOUNT_ATTR_RDONLY)
        finally:
            os.close(tree)
    except OSError:
        return False
    return True


def newest_common(theirs: str) -> str:
    """The newest version that both sides know; `1.0.2-dev` counts as what came before it."""
    numbers, _, suffix = theirs.partition("-")
    try:
        major, minor, patch = (int(part) for part in numbers.split("."))
    except ValueError:
        return "1.0.0"
    if suffix.startswith(("dev", "rc")):
        patch = max(0, patch - 1)
    return ".".join(map(str, min(OURS, (major, minor, patch))))
