"""Delete a container: also one that is half made, whose conmon was killed, or that is gone already."""

from __future__ import annotations

import contextlib
import os
import select
import time

from orlop.kit import limits
from orlop.kit.errors import Conflict
from orlop.runtime import conmon, errors, exits, subpaths

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from orlop.runtime.engine import Engine

_PAUSE = 0.01
_LOOKS = 4  # a conmon that is just being executed has no name for a moment
_SIGKILL = 9  # the module signal costs 1 ms of `orlop run`


def delete(engine: Engine, identifier: str, *, force: bool) -> None:
    """See Engine.delete."""
    bundle = engine.bundle(identifier)
    _settle_creation(engine, identifier, bundle)
    cgroup = engine.cgroup_of(identifier)
    if engine.has_state(identifier):
        if force:
            _kill(engine, identifier)
        _delete_state(engine, identifier, force=force)
    if cgroup:
        engine.cgroups.kill(cgroup)
        engine.cgroups.remove(cgroup)
    subpaths.release(bundle)
    # conmon writes the exit file soon after the end; it must not appear after it was removed here.
    watched = [pid for pid in (engine.conmon_pid(identifier),) if pid]
    exits.wait(engine.exits, identifier, watched, limits.EXIT_RECORD)
    exits.forget(engine.exits, identifier)
    if os.path.islink(bundle):
        os.unlink(bundle)


def _settle_creation(engine: Engine, identifier: str, bundle: str) -> None:
    """Whoever created it may have died in the middle, and its conmon is still at it: wait for the outcome."""
    if os.path.exists(f"{bundle}/pid") or not os.path.exists(f"{bundle}/config.json"):
        return
    deadline = time.monotonic() + limits.RUNTIME_TIMEOUT
    absent = 0
    while absent < _LOOKS and not os.path.exists(f"{bundle}/pid"):
        working = conmon.search(identifier)
        absent = 0 if working else absent + 1
        if time.monotonic() > deadline:
            for pid in working:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, _SIGKILL)
        select.select((), (), (), _PAUSE)  # rare: nobody else is told what a stranger's child does


def _kill(engine: Engine, identifier: str) -> None:
    """End it, so that its end is recorded and the runtime's own forced deletion has nothing to wait for."""
    engine.kill(identifier, _SIGKILL)
    cgroup = engine.cgroup_of(identifier)
    if cgroup:
        engine.cgroups.kill(cgroup)
    watched = [pid for pid in (engine.conmon_pid(identifier),) if pid]
    exits.wait(engine.exits, identifier, watched, limits.KILL_WAIT)


def _delete_state(engine: Engine, identifier: str, *, force: bool) -> None:
    done = engine.run_verb("delete", identifier, *(("--force",) if force else ()))
    if done.status == 0 or not engine.has_state(identifier):
        return
    words = done.stderr.decode(errors="replace").strip()
    subject = f"container {identifier[:12]}"
    if not force and engine.state(identifier) not in ("", "stopped"):
        raise Conflict(subject, "has not ended", hint="stop it first, or force its removal")
    if force:  # a creation that was cut off leaves state that not every runtime can read
        files_left = engine.state_folder(identifier)
        if engine.state(identifier) == "":
            from orlop.kit import files

            files.remove_tree(files_left)
            return
    raise errors.RuntimeFailed(subject, f"cannot be deleted: {words}", hint="see the runtime's words")
