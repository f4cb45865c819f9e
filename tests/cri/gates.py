"""Programs that wait at named steps until the test lets them go on: a CNI plugin and an OCI runtime.

with gated() as gates:                  # gates.config is for orlop.toml
    gates.arm("ADD-begin")              # the next ADD waits there
    gates.reached("ADD-begin"); ...; gates.release("ADD-begin")

A gate lets all pass that it was not armed for. Steps are VERB-begin and VERB-end, of the plugin ADD and DEL,
of the runtime create, start, kill, delete, exec and state.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

_GATE = """#!/bin/sh
gate() {{
    if mv {folder}/armed-$1 {folder}/at-$1 2>/dev/null; then
        while [ -e {folder}/at-$1 ]; do sleep 0.01; done
    fi
}}
"""

#: Its addresses are files of their own, so that one which is not given back is seen.
_PLUGIN = """
case "$CNI_COMMAND" in
VERSION) echo '{{"cniVersion": "1.0.0", "supportedVersions": ["1.0.0"]}}' ;;
ADD)
    gate ADD-begin
    touch {folder}/leases/$CNI_CONTAINERID
    gate ADD-end
    echo '{{"cniVersion": "1.0.0", "ips": [{{"address": "192.0.2.9/24"}}]}}' ;;
DEL)
    gate DEL-begin
    rm -f {folder}/leases/$CNI_CONTAINERID
    gate DEL-end ;;
esac
"""

_RUNTIME = """
verb=
for word in "$@"; do
    case "$word" in create|start|kill|delete|exec|state) [ -n "$verb" ] || verb=$word ;; esac
done
[ -n "$verb" ] && gate $verb-begin
{runtime} "$@"
code=$?
[ -n "$verb" ] && gate $verb-end
exit $code
"""


class Gates:
    """The folder through which the programs are told."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.leases = folder / "leases"
        for name in ("leases", "cni", "net.d", "bin"):
            (folder / name).mkdir()
        runtime = shutil.which("crun")
        for path, text in ((folder / "cni" / "gated", _PLUGIN), (folder / "bin" / "crun", _RUNTIME)):
            path.write_text((_GATE + text).format(folder=folder, runtime=runtime), encoding="utf-8")
            path.chmod(0o755)
        network = '{"cniVersion": "1.0.0", "name": "gated", "plugins": [{"type": "gated"}]}'
        (folder / "net.d" / "a.conflist").write_text(network, encoding="utf-8")
        self.config = (
            f'[network]\nplugin_dirs = ["{folder}/cni"]\nconfig_dir = "{folder}/net.d"\n'
            f'[runtime]\npath = "{folder}/bin/crun"\n'
        )

    def arm(self, step: str) -> None:
        (self._folder / f"armed-{step}").touch()

    def reached(self, step: str, seconds: float = 20.0) -> None:
        """Once somebody waits there."""
        deadline = time.monotonic() + seconds
        while not (self._folder / f"at-{step}").exists():
            assert time.monotonic() < deadline, f"nobody came to {step}"
            time.sleep(0.005)

    def release(self, step: str) -> None:
        (self._folder / f"at-{step}").unlink()

    def open(self) -> None:
        """Let everybody go on."""
        for name in os.listdir(self._folder):
            if name.startswith(("armed-", "at-")):
                (self._folder / name).unlink()


@contextlib.contextmanager
def gated() -> Iterator[Gates]:
    """Gates for the `with` block; all are open afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="og-", dir="/tmp"))
    gates = Gates(folder)
    try:
        yield gates
    finally:
        gates.open()
        shutil.rmtree(folder)
