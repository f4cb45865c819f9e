"""Resolve pyproject.toml into requirements.lock (to run) and requirements-dev.lock (to develop)."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path
from tempfile import TemporaryDirectory

from orlop.kit import process

_MINUTES = 10 * 60


def main() -> None:
    project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))
    groups = project["dependency-groups"]
    to_run = project["project"]["dependencies"] + groups["build"]
    _compile("requirements.lock", to_run)
    _compile("requirements-dev.lock", to_run + groups["dev"])


def _compile(target: str, requirements: list[str]) -> None:
    with TemporaryDirectory() as folder:
        source = Path(folder, "requirements.in")
        source.write_text("\n".join(requirements) + "\n", encoding="utf-8")
        argv = [sys.executable, "-m", "piptools", "compile", "--quiet", "--generate-hashes", "--no-annotate"]
        argv += ["--no-emit-index-url", "--no-emit-trusted-host", "--no-header", "--strip-extras"]
        argv += ["--allow-unsafe", "--output-file", target, str(source)]
        process.run(argv, timeout=_MINUTES, env={**process.MINIMAL_ENV, "HOME": str(Path.home())})
    # Whoever installs uses an index of their own: the lock names packages and hashes, never a host.
    lines = Path(target).read_text(encoding="utf-8").splitlines()
    Path(target).write_text("\n".join(line for line in lines if "://" not in line) + "\n", encoding="utf-8")
    print(f"{target}: {sum('==' in line for line in lines)} packages")


if __name__ == "__main__":
    main()
