"""`make bench`: measure, print the ratios; `--write` puts the tables into docs/benchmarks.md as well."""

from __future__ import annotations

import argparse
import compileall
import os
import platform
import re
import sys
import tempfile
from pathlib import Path

from bench import build, copy, cri, deployment, imports, pull, registry, run
from bench.measure import Timing
from bench.peers import CONTAINERD_VERSION
from orlop.kit import process
from tools import machine
from tools.builds.table import PROGRAMS

_PAGE = Path("docs/benchmarks.md")
_WHAT = ["run", "pull", "import", "copy", "build", "registry", "cri", "deployment"]
_BEGIN, _END = "<!-- measured: begin -->", "<!-- measured: end -->"


def main() -> int:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("what", nargs="*", choices=[*_WHAT, []], default=[])
    parser.add_argument("--rounds", type=int, default=15, help="of `run` and `cri`; a fifth of it of others")
    parser.add_argument("--write", action="store_true", help=f"put the tables into {_PAGE}")
    arguments = parser.parse_args()
    what = arguments.what or _WHAT
    few = max(2, arguments.rounds // 5)
    compileall.compile_dir("src/orlop", quiet=2)  # as an installed wheel is, whatever the environment says
    made = machine.prepare()
    lines = [_machine()]
    try:
        with tempfile.TemporaryDirectory(prefix="orlop-bench-", dir="/var/tmp") as folder:
            if "run" in what:
                lines += _tables(run.measure(Path(folder, "run"), rounds=arguments.rounds), unit=1000)
            if "pull" in what:
                lines += _tables(pull.measure(Path(folder, "pull"), rounds=few), unit=1)
            if "import" in what:
                lines += _tables(imports.measure(Path(folder, "import"), rounds=few), unit=1)
            if "copy" in what:
                lines += _tables(copy.measure(Path(folder, "copy"), rounds=few), unit=1)
            if "build" in what:
                lines += _tables(build.measure(Path(folder, "build"), rounds=few), unit=1)
            if "registry" in what:
                lines += _tables(registry.measure(Path(folder, "registry"), rounds=few), unit=1000)
            if "cri" in what:
                lines += cri.measure(Path(folder, "cri"), rounds=arguments.rounds)
            if "deployment" in what:
                found = deployment.measure(Path(folder, "deployment"), rounds=few)
                lines += _tables({"Deployment, 3 to 30 Ready": found}, unit=1)
    finally:
        if made:
            machine.undo()
    text = "\n".join(lines)
    print(text)
    if arguments.write:
        page = _PAGE.read_text(encoding="utf-8")
        before, rest = page.split(_BEGIN)
        _PAGE.write_text(f"{before}{_BEGIN}\n{text}\n{_END}{rest.split(_END)[1]}", encoding="utf-8")
    return 0


def _tables(found: dict[str, list[Timing]], *, unit: int) -> list[str]:
    """A Markdown table for each measurement; `unit` 1000 prints milliseconds, 1 seconds."""
    lines = []
    for title, timings in found.items():
        name = "ms" if unit == 1000 else "s"
        peers = [timing for timing in timings if timing.name != "orlop" and "nothing" not in timing.name]
        fastest = min((timing.median for timing in peers), default=0.0)
        ours = title != "floor"
        lines += [
            "",
            f"### {title}",
            "",
            f"| | median {name} | best {name} |"
            + (" to the fastest peer |" if ours else "")
            + (" peak MB |" if timings[0].memory else ""),
        ]
        lines.append("|---|---:|---:|" + ("---:|" if ours else "") + ("---:|" if timings[0].memory else ""))
        for timing in timings:
            row = f"| {timing.name} | {timing.median * unit:.1f} | {timing.best * unit:.1f} |"
            row += f" {timing.median / fastest:.2f} |" if ours else ""
            lines.append(row + (f" {timing.memory / 1e6:.0f} |" if timing.memory else ""))
    return lines


def _machine() -> str:
    model = re.search(r"model name\s*:\s*(.*)", Path("/proc/cpuinfo").read_text(encoding="utf-8"))
    versions = []
    for argv in (["crun", "--version"], ["conmon", "--version"], ["podman", "--version"]):
        versions.append(process.run(argv).text.splitlines()[0].removesuffix("."))
    processor = model.group(1) if model else platform.machine()
    return (
        f"{os.cpu_count()} x {processor}, Linux {platform.release()}, Python {platform.python_version()}; "
        + "; ".join([*versions, f"containerd {CONTAINERD_VERSION}", f"CRI-O {PROGRAMS['crio'].version}"])
        + "; the kubelet's requests with crun 1.21 for all"
    )


if __name__ == "__main__":
    sys.exit(main())
