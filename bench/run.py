"""`orlop run` until the first line of output, against podman with the same crun; and what the parts cost."""

from __future__ import annotations

import functools
import json
import os
import sys
import time
from pathlib import Path

from bench.measure import Timing, first_line, in_turns
from bench.peers import podman
from orlop.kit import process
from tests.support import images
from tests.support.registry import registry

_ORLOP = os.path.join(os.path.dirname(sys.executable), "orlop")
_COMMAND = ("echo", "hello")
_CNI = "/usr/lib/cni"


def measure(folder: Path, *, rounds: int) -> dict[str, list[Timing]]:
    """Timings by network ("none", "bridge"), and the floors under "floor"."""
    found = {}
    with registry() as running, podman(folder / "podman", running.address) as peer:
        image = images.busybox(running)
        env = orlop_env(folder, running.address)
        process.run([_ORLOP, "image", "pull", image], env=env)
        peer.run("pull", image)
        try:
            for network in ("none", "bridge"):
                ours = [_ORLOP, "run", "--rm", "--network", network, image, *_COMMAND]
                theirs = peer.argv("run", "--rm", "--net", network, image, *_COMMAND)
                candidates = {
                    "orlop": functools.partial(first_line, ours, env),
                    "podman": functools.partial(first_line, theirs, peer.env),
                }
                found[network] = in_turns(candidates, rounds=rounds)
            found["floor"] = _floors(folder, rounds=rounds)
        finally:
            process.run([_ORLOP, "node", "down", "--purge"], env=env)
    return found


def orlop_env(folder: Path, insecure: str) -> dict[str, str]:
    """The environment of a node of its own below `folder` that may speak plain HTTP to `insecure`."""
    folder.mkdir(parents=True, exist_ok=True)
    conf = folder / "registries.conf"
    conf.write_text(f'[[registry]]\nlocation = "{insecure}"\ninsecure = true\n')
    return {
        **process.MINIMAL_ENV,
        "HOME": str(folder),
        "ORLOP_ROOT": str(folder / "orlop"),
        "ORLOP_STATE": str(folder / "state"),
        "CONTAINERS_REGISTRIES_CONF": str(conf),
    }


def _floors(folder: Path, *, rounds: int) -> list[Timing]:
    """What the parts cost by themselves: an interpreter, crun, the bridge plugin."""
    bundle = folder / "bundle"
    (bundle / "rootfs" / "bin").mkdir(parents=True)
    process.run(["cp", images.BUSYBOX, str(bundle / "rootfs" / "bin" / "busybox")])
    _write_spec(bundle)
    crun = ["crun", "--root", str(folder / "crun"), "run", "--bundle", str(bundle), f"bench{os.getpid()}"]
    return in_turns(
        {
            "python, nothing imported": lambda: _timed([sys.executable, "-I", "-c", "pass"]),
            "crun run (no seccomp, no network)": lambda: first_line(crun, process.MINIMAL_ENV),
            "CNI bridge ADD": lambda: _bridge_add(folder),
        },
        rounds=rounds,
    )


def _timed(argv: list[str]) -> float:
    started = time.perf_counter()
    process.run(argv)
    return time.perf_counter() - started


def _write_spec(bundle: Path) -> None:
    process.run(["crun", "spec", "--bundle", str(bundle)])
    path = bundle / "config.json"
    spec = json.loads(path.read_text())
    spec["process"] |= {"args": ["/bin/busybox", *_COMMAND], "terminal": False}
    spec["process"].pop("rlimits", None)
    spec["linux"]["cgroupsPath"] = f"/orlop-bench-{os.getpid()}/floor"
    path.write_text(json.dumps(spec))


def _bridge_add(folder: Path) -> float:
    """One ADD of the bridge plugin with host-local addresses in a new namespace; DEL is not counted."""
    namespace = f"orlop-bench-{os.getpid()}"
    bridge = f"orlb{os.getpid() % 10_000_000}"
    configuration = {
        "cniVersion": "1.0.0",
        "name": namespace,
        "type": "bridge",
        "bridge": bridge,
        "isGateway": True,
        "ipMasq": True,
        "ipam": {"type": "host-local", "dataDir": str(folder / "ipam"), "subnet": "10.199.77.0/24"},
    }
    env = {
        **process.MINIMAL_ENV,
        "CNI_COMMAND": "ADD",
        "CNI_CONTAINERID": namespace,
        "CNI_NETNS": f"/run/netns/{namespace}",
        "CNI_IFNAME": "eth0",
        "CNI_PATH": _CNI,
    }
    stdin = json.dumps(configuration).encode()
    process.run(["ip", "netns", "add", namespace])
    try:
        started = time.perf_counter()
        process.run([f"{_CNI}/bridge"], env=env, stdin=stdin)
        return time.perf_counter() - started
    finally:
        process.run([f"{_CNI}/bridge"], env={**env, "CNI_COMMAND": "DEL"}, stdin=stdin, check=False)
        process.run(["ip", "netns", "delete", namespace])
        process.run(["ip", "link", "delete", bridge], check=False)
