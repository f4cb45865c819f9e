"""docs/library.md is a program: it is run, whole."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.pages import ROOT
from tests.support import images
from tests.support.node import temporary_node
from tests.support.registry import registry

pytestmark = pytest.mark.host

_BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_the_page_of_the_library_runs(tmp_path: Path) -> None:
    blocks = _BLOCK.findall((ROOT / "docs" / "library.md").read_text(encoding="utf-8"))
    assert len(blocks) > 4
    with registry() as server, temporary_node() as node:
        images.busybox(server, "library/busybox:latest")
        (tmp_path / "registries.conf").write_text(
            f'[[registry]]\nprefix = "docker.io"\nlocation = "{server.address}"\ninsecure = true\n'
        )
        (tmp_path / "page.py").write_text("\n".join(blocks))
        environment = {
            **os.environ,
            "ORLOP_ROOT": node.root,
            "ORLOP_STATE": node.state,
            "ORLOP_CONFIG": node.config,
            "CONTAINERS_REGISTRIES_CONF": str(tmp_path / "registries.conf"),
            "REGISTRY_AUTH_FILE": str(tmp_path / "auth.json"),
        }
        done = subprocess.run(
            [sys.executable, "page.py"],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "no such image in the store" in done.stdout
