"""What the form of layers costs once they are there: `files` against `erofs` (docs/layers.md).

Starting a container, reading its whole root cold (nothing of it in memory) and warm, walking it, what stays
in memory after a cold read, and the room on the disk. A Debian root of one layer, in two nodes of their own.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from bench.measure import Timing, in_turns, whole
from bench.run import orlop_env
from orlop.kit import process
from tests.support import images
from tests.support.registry import registry

_ORLOP = os.path.join(os.path.dirname(sys.executable), "orlop")
_FORMS = ("files", "erofs")
_READ = ("sh", "-c", "tar -C /usr -cf - . | cat > /dev/null")


def measure(folder: Path, *, rounds: int) -> tuple[dict[str, list[Timing]], list[str]]:
    """Timings by what was measured (seconds), and lines about memory and the disk."""
    with registry() as running:
        name = images.push(running, "debian:1", images.Image((images.debian_layer(),), {"Cmd": ["bash"]}))
        nodes = {form: _node(folder / form, running.address, form) for form in _FORMS}
        for env in nodes.values():
            process.run([_ORLOP, "image", "pull", "--quiet", name], env=env)
        try:
            found = {}
            for title, command, cold in (
                ("start", ("true",), False),
                ("read all of /usr, cold", _READ, True),
                ("read all of /usr, warm", _READ, False),
                ("walk /, cold", ("find", "/", "-xdev", "-newer", "/etc/passwd"), True),
                ("walk /, warm", ("find", "/", "-xdev", "-newer", "/etc/passwd"), False),
                ("perl with modules, cold", ("perl", "-MPOSIX", "-MSocket", "-MFile::Spec", "-e", "1"), True),
            ):
                candidates = {
                    form: functools.partial(_run, env, name, command, cold) for form, env in nodes.items()
                }
                found[title] = in_turns(candidates, rounds=rounds)
            lines = [_memory(form, env, name) for form, env in nodes.items()]
            lines += [_disk(form, Path(env["ORLOP_ROOT"])) for form, env in nodes.items()]
        finally:
            for env in nodes.values():
                process.run([_ORLOP, "node", "down", "--purge"], env=env)
    return found, lines


def _node(folder: Path, address: str, form: str) -> dict[str, str]:
    env = orlop_env(folder, address)
    config = folder / "orlop.toml"
    config.write_text(f'[store]\nlayers = "{form}"\nkeep_blobs = false\n')
    return {**env, "ORLOP_CONFIG": str(config)}


def _run(env: Mapping[str, str], name: str, command: tuple[str, ...], cold: bool) -> float:
    if cold:
        _forget()
        process.run([_ORLOP, "run", "--rm", "--network", "none", name, "true"], env=env)  # warm but for data
    return whole([_ORLOP, "run", "--rm", "--network", "none", name, *command], env)


def _forget() -> None:
    """Nothing that is on the disk stays in memory."""
    os.sync()
    Path("/proc/sys/vm/drop_caches").write_text("3", encoding="ascii")


def _memory(form: str, env: Mapping[str, str], name: str) -> str:
    _run(env, name, ("true",), True)
    before = _cached()
    _run(env, name, _READ, False)
    return f"{form}: {(_cached() - before) / 1e6:.0f} MB of page cache after /usr was read"


def _cached() -> int:
    for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
        if line.startswith("Cached:"):
            return int(line.split()[1]) * 1024
    return 0


def _disk(form: str, root: Path) -> str:
    total = sum(
        os.lstat(os.path.join(folder, name)).st_blocks * 512
        for folder, folders, names in os.walk(root / "layers")
        for name in (*folders, *names)
    )
    return f"{form}: {total / 1e6:.0f} MB on the disk"


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory(prefix="orlop-bench-", dir="/var/tmp") as place:
        timings, notes = measure(Path(place), rounds=int(sys.argv[1]) if len(sys.argv) > 1 else 5)
    for what, rows in timings.items():
        print(what, ", ".join(f"{row.name} {row.median * 1000:.0f} ms" for row in rows))
    print("\n".join(notes))
