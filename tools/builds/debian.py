"""crun as a newer Debian has it, built from that suite's source; this machine's own stays as it is."""

from __future__ import annotations

import os
import re
from pathlib import Path
from tempfile import TemporaryDirectory

from orlop.kit import process
from orlop.kit.errors import Unsupported

_SUITE = "trixie"
_SECONDS = 20 * 60


def crun(target: Path) -> None:
    """Build it to `target`, with what `packages.sh bench` installs. Raises Unsupported without a mirror."""
    with TemporaryDirectory() as scratch:
        env = {**process.MINIMAL_ENV, "DEBIAN_FRONTEND": "noninteractive", "HOME": scratch}

        def run(*argv: str) -> None:
            process.run(["nice", "env", "-C", scratch, *argv], env=env, timeout=_SECONDS)

        apt = _apt(Path(scratch))
        run("apt-get", *apt, "update")
        run("apt-get", *apt, "source", "--tar-only", "crun")  # apt checks its digest
        tree = f"{scratch}/tree"
        os.mkdir(tree)
        archive = next(Path(scratch).glob("crun_*.orig.tar.*"))
        run("tar", "-xf", str(archive), "-C", tree, "--strip-components=1")
        run("env", "-C", tree, "./configure")
        run("make", "-C", tree, f"-j{os.cpu_count()}", "all")
        run("cp", f"{tree}/crun", str(target))


def _apt(scratch: Path) -> list[str]:
    """Options that let apt see the newer suite's sources, and keep all that in `scratch`."""
    places = list(Path("/etc/apt").glob("sources.list")) + list(Path("/etc/apt/sources.list.d").glob("*"))
    text = "\n".join(path.read_text(encoding="utf-8") for path in places if path.suffix != ".save")
    found = re.search(r"(https?://\S+/debian)/?\s", text)
    if found is None:
        raise Unsupported("crun", "this machine has no Debian mirror", hint="give a crun by ORLOP_CRUN")
    keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"
    for folder in ("lists/partial", "cache"):
        (scratch / folder).mkdir(parents=True)
    (scratch / "sources.list").write_text(
        f"deb-src [signed-by={keyring}] {found.group(1)} {_SUITE} main\n", encoding="utf-8"
    )
    options = {
        "Dir::Etc::sourcelist": scratch / "sources.list",
        "Dir::Etc::sourceparts": "/dev/null",
        "Dir::State::lists": scratch / "lists",
        "Dir::Cache": scratch / "cache",
        "APT::Sandbox::User": "root",
    }
    return [f"-o{key}={value}" for key, value in options.items()]
