"""Every `sh` block of README.md and docs/ runs, in the order of its page, as a reader would type it.

Names like `busybox` come from docker.io for a reader; here registries.conf remaps docker.io to a loopback
registry, which is what that file is for.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.pages import PAGES, ROOT, blocks
from tests.support import images
from tests.support.registry import registry

pytestmark = [pytest.mark.host, pytest.mark.timeout(600)]

_README = ROOT / "README.md"
_EXAMPLES = ROOT / "docs" / "cli.md"  # made from the commands' examples, which test_examples.py runs
_ELSEWHERE = ("make test", "make check", "make bench", "make lock", "bench --write")  # CI itself, or hours


@pytest.fixture
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A reader's shell: the program in PATH, docker.io within reach."""
    folder = tmp_path_factory.mktemp("docs")
    with registry() as running:
        for name in ("library/busybox:latest", "hello:1"):
            images.busybox(running, name)
        conf = folder / "registries.conf"
        conf.write_text(
            _remapped("docker.io", running.address) + _remapped("127.0.0.1:5055", running.address)
        )
        yield {
            **os.environ,
            "PATH": f"{ROOT}/.venv/bin:{os.environ['PATH']}",
            "CONTAINERS_REGISTRIES_CONF": str(conf),
            "PAGER": "cat",
        }


def _remapped(prefix: str, address: str) -> str:
    return f'[[registry]]\nprefix = "{prefix}"\nlocation = "{address}"\ninsecure = true\n'


def test_the_readme_works_from_its_first_command_to_its_last(environment: dict[str, str]) -> None:
    _type("make up", environment)
    try:
        _type("make up", environment)
        for block in blocks(_README):
            _type(block, environment)
    finally:
        _type("make down", environment)
    _type("make down", environment)


_OTHERS = [p for p in PAGES if p not in (_README, _EXAMPLES) and blocks(p)]


@pytest.mark.parametrize("page", _OTHERS, ids=lambda p: p.name)
def test_every_command_of_a_page_works(page: Path, environment: dict[str, str], tmp_path: Path) -> None:
    environment |= {"ORLOP_ROOT": str(tmp_path / "root"), "ORLOP_STATE": f"/run/orlop-docs-{os.getpid()}"}
    try:
        for block in blocks(page):
            _type(block, environment)
    finally:
        _type("orlop node down --purge", environment)


def _type(block: str, environment: dict[str, str]) -> None:
    lines = [line for line in block.splitlines() if not any(word in line for word in _ELSEWHERE)]
    script = "set -euo pipefail\n" + "\n".join(lines)
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, f"{script}\n--- printed\n{done.stdout}\n--- and\n{done.stderr}"
