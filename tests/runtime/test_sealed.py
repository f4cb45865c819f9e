"""The runtime's sealed copy: what is executed cannot be written to, and a changed program is copied anew."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from orlop.kit import process
from orlop.runtime.sealed import sealed

pytestmark = pytest.mark.host


def test_the_copy_runs_and_nobody_can_write_to_it(tmp_path: Path) -> None:
    shutil.copy("/bin/true", tmp_path / "crun-of-a-test")
    path = sealed(str(tmp_path / "crun-of-a-test"))
    assert path.startswith("/proc/") and process.run((path,)).status == 0
    with pytest.raises(OSError, match="not permitted"):
        os.truncate(path, 0)


def test_a_program_that_was_replaced_is_copied_anew(tmp_path: Path) -> None:
    program = tmp_path / "crun-of-a-test"
    shutil.copy("/bin/true", program)
    before = sealed(str(program))
    assert sealed(str(program)) == before
    program.unlink()
    shutil.copy("/bin/false", program)
    after = sealed(str(program))
    assert after != before
    assert process.run((after,), check=False).status == 1
    assert process.run((before,)).status == 0, "somebody may be about to execute it"


def test_scripts_and_other_runtimes_are_executed_where_they_are(tmp_path: Path) -> None:
    script = tmp_path / "crun-script"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    assert sealed(str(script)) == str(script)
    assert sealed("/bin/true") == "/bin/true"
    assert sealed("/no/such/crun") == "/no/such/crun"
