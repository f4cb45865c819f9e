"""Why a pod is not as it was declared, in words that name the cause and what to look at."""

from __future__ import annotations

import os

from orlop.kit.errors import OrlopError, TimedOut
from orlop.system.supervise.status import ContainerStatus, PodStatus

_TAIL = 8 * 1024  # bytes looked at of a log
_LINES = 5
_HOPELESS = ("StartError",)
_LOOPS = 2  # restarts after which a container that waits for the next one counts as failed


class PodsFailed(OrlopError):
    """Pods ended or cannot run. What is declared stays declared; the supervisor goes on trying."""


class PodsNotReady(TimedOut):
    """Pods were not ready in time. The supervisor goes on trying."""


def failed(pod: PodStatus) -> bool:
    """Whether waiting longer for `pod` is pointless, as far as one can tell."""
    if pod.phase == "Failed":
        return True
    return any(
        each.reason == "CrashLoopBackOff" and (each.restarts >= _LOOPS or each.last_reason in _HOPELESS)
        for each in pod.containers
    )


def explained(pod: PodStatus, log_paths: dict[str, str]) -> str:
    """One pod in a few lines; `log_paths` by container ID."""
    head = f"pod {pod.key} is {pod.phase}"
    if not any(each.reason == pod.reason for each in pod.containers):  # else its line says so
        head += f" ({pod.reason})" if pod.reason else ""
        head += f": {pod.message}" if pod.message else ""
    lines = [head]
    for each in pod.containers:
        if each.ready or (each.kind == "init" and each.exit_code == 0):
            continue
        if each.state == "waiting" and each.reason == "ContainerCreating" and each.restarts == 0:
            continue  # it waits for another one, which says why
        lines.append("  " + _container(each))
        lines += [f"    | {line}" for line in last_lines(log_paths.get(each.id, ""))]
    return "\n".join(lines)


def _container(each: ContainerStatus) -> str:
    text = f"container {each.name}: {each.reason or ('not ready' if each.state == 'running' else each.state)}"
    if each.exit_code is not None:
        text += f", exit code {each.exit_code}"
    elif each.last_exit_code is not None and each.reason != "CrashLoopBackOff":
        text += f", last exit code {each.last_exit_code} ({each.last_reason})"
    if each.restarts:
        text += f", {each.restarts} restart{'s' if each.restarts > 1 else ''}"
    return f"{text}: {each.message}" if each.message else text


def last_lines(path: str) -> list[str]:
    """The last lines of a log in the CRI format (`TIME STREAM TAG TEXT`); none where there is no log."""
    try:
        with open(path, "rb") as stream:
            stream.seek(max(os.fstat(stream.fileno()).st_size - _TAIL, 0))
            raw = stream.read(_TAIL).decode(errors="replace").splitlines()
    except OSError:
        return []
    return [line.split(" ", 3)[-1] for line in raw[-_LINES:]]
