"""A running container's memory in files, written by CRIU, through the OCI runtime; it goes on afterwards."""

from __future__ import annotations

import json
import os

from orlop.kit import limits, process
from orlop.kit.errors import NotFound, Unsupported
from orlop.runtime import errors, words

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from orlop.runtime.engine import Engine

_HINT = "install criu and a runtime with support of it, such as runc"


def require(engine: Engine, identifier: str) -> str:
    """The path of CRIU, if it works here and the container's runtime uses it. Raises Unsupported."""
    from orlop.runtime import features

    program = engine.program(engine.handler_of(identifier))
    subject = f"checkpoint of container {identifier[:12]}"
    if not _is_able(program):
        raise Unsupported(
            subject, f"{os.path.basename(program)} is built without support of CRIU", hint=_HINT
        )
    try:
        criu = features.find(engine.settings.criu)
    except NotFound as error:
        raise Unsupported(subject, "CRIU is not installed", hint=_HINT) from error
    done = process.run([criu, "check"], timeout=limits.RUNTIME_TIMEOUT, check=False)
    if done.status != 0:
        said = words.last_line((done.stderr or done.stdout).decode(errors="replace"))
        raise Unsupported(subject, f"CRIU does not work on this kernel: {said}", hint="try a newer criu")
    return criu


def dump(engine: Engine, identifier: str, criu: str, images: str, work: str, timeout: float) -> None:
    """CRIU's files of the container are in `images`, its log and statistics in `work`.

    The container may be paused and stays as it is. Raises RuntimeFailed with CRIU's last error, TimedOut.
    """
    line = engine.command(identifier)
    if "runc" in os.path.basename(line[0]):
        line += ["--criu", criu]
    line += ["checkpoint", "--image-path", images, "--work-path", work, "--leave-running"]
    line += ["--tcp-established", "--ext-unix-sk", "--file-locks", identifier]
    done = process.run(line, timeout=timeout, check=False)
    if done.status == 0:
        return
    lines = words.beginning(f"{work}/dump.log").splitlines()
    reason = next((text for text in reversed(lines) if "Error" in text), "")
    said = reason or words.last_line(done.stderr.decode(errors="replace"))
    raise errors.RuntimeFailed(
        f"checkpoint of container {identifier[:12]}",
        said[:500],
        hint="see CRIU's documentation of this error",
    )


def _is_able(program: str) -> bool:
    """runc says so among its features, crun with its version."""
    done = process.run([program, "features"], timeout=limits.RUNTIME_TIMEOUT, check=False)
    if done.status == 0:
        try:
            said = json.loads(done.stdout).get("annotations") or {}
        except (ValueError, AttributeError):
            said = {}
        if any(key.endswith("checkpoint.enabled") and value == "true" for key, value in said.items()):
            return True
    version = process.run([program, "--version"], timeout=limits.RUNTIME_TIMEOUT, check=False)
    return "+CRIU" in version.text
