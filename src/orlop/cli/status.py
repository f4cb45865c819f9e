"""`orlop status`."""

from __future__ import annotations

import argparse
from typing import Any

from orlop.cli.context import Context
from orlop.cli.output import ago, emit, printable, span, stamp
from orlop.cli.parser import Parser
from orlop.kit.errors import OrlopError, Unavailable

DESCRIPTION = """Asks `orlop serve` over its socket. The exit code is 0 where it answers and is ready, 1 where
it answers and a condition is not met, 6 where it does not run or does not answer."""
EXAMPLES = ("orlop status", "orlop status --output json")
JSON = """`running`, `answers`, `version`, `pid`, `since`, `socket`, `streaming`, `conditions` (`type`, `ok`,
`reason`, `message`), `pods`, `containers` (state -> count), `images`, `recovery`, `collection`, `reboot`,
`reload` (what the daemon left word of, with `at`)."""

_NOT_READY = 1
_PATIENCE = 10.0  # seconds, for each question


def add_arguments(parser: Parser) -> None:
    add = parser.add_argument
    add("--socket", metavar="ADDRESS", default="", help="unix:///PATH of the daemon (where it says it is)")


def run(context: Context, arguments: argparse.Namespace) -> int:
    from orlop.cri import socket
    from orlop.cri.operate import report
    from orlop.cri.settings import CriSettings

    said = report.read(context.node)
    running = report.running(context.node)
    listen = arguments.socket or (f"unix://{said['socket']}" if said.get("socket") else "")
    path = socket.path_of(listen or context.config.section("cri", CriSettings).listen, context.node)
    found: dict[str, Any] = {"running": running, "answers": False, "socket": path}
    keys = ("pid", "since", "streaming") if running else ()
    found |= {key: said[key] for key in (*keys, "recovery", "collection", "reboot", "reload") if key in said}
    failure: OrlopError | None = None
    try:
        if not running and not arguments.socket:  # to connect would start it where systemd has the socket
            raise _absent(path, "does not run")
        found |= _asked(path)
    except OrlopError as error:
        failure = error
    if context.json:
        emit(_readable_times(found))
    else:
        _print(found)
    if failure is not None:
        raise failure
    return 0 if all(condition["ok"] for condition in found["conditions"]) else _NOT_READY


def _asked(path: str) -> dict[str, Any]:
    """What the daemon answers. Raises Unavailable."""
    import grpc

    from orlop.cri.operate.client import Client
    from orlop.cri.proto import cri_pb2 as pb

    try:
        with Client(path, _PATIENCE) as client:
            version = client.call("Version", pb.VersionRequest())
            status = client.call("Status", pb.StatusRequest()).status
            pods = client.call("ListPodSandbox", pb.ListPodSandboxRequest()).items
            containers = client.call("ListContainers", pb.ListContainersRequest()).containers
            images = client.call("ListImages", pb.ListImagesRequest()).images
    except grpc.RpcError as error:
        raise _absent(path, f"does not answer: {_words(error)}") from error
    return {
        "answers": True,
        "version": version.runtime_version,
        "conditions": [
            {"type": c.type, "ok": c.status, "reason": c.reason, "message": c.message}
            for c in status.conditions
        ],
        "pods": _counts(pb.PodSandboxState.Name(pod.state).removeprefix("SANDBOX_") for pod in pods),
        "containers": _counts(
            pb.ContainerState.Name(container.state).removeprefix("CONTAINER_") for container in containers
        ),
        "images": len(images),
    }


def _absent(path: str, cause: str) -> Unavailable:
    hint = "start it with: orlop serve, or: systemctl start orlop"
    return Unavailable(f"the daemon at {path}", cause, hint=hint)


def _words(error: Any) -> str:
    return f"{error.code().name}: {error.details()}" if hasattr(error, "code") else str(error)


def _counts(states: Any) -> dict[str, int]:
    counts: dict[str, int] = {}
    for state in states:
        counts[state.lower()] = counts.get(state.lower(), 0) + 1
    return counts


def _readable_times(found: dict[str, Any]) -> dict[str, Any]:
    """Moments as RFC 3339."""
    told = dict(found)
    if "since" in told:
        told["since"] = stamp(told["since"])
    for key in ("recovery", "collection", "reboot", "reload"):
        if key in told:
            told[key] = {**told[key], "at": stamp(told[key].get("at", 0))}
    return told


def _print(found: dict[str, Any]) -> None:
    state = "answers" if found["answers"] else "runs, does not answer" if found["running"] else "does not run"
    _line("daemon", state)
    if "since" in found:
        _line("process", f"{found['pid']}, since {stamp(found['since'])} ({ago(found['since'])})")
    if found["answers"]:
        _line("version", found["version"])
    _line("socket", found["socket"])
    if found.get("streaming"):
        _line("streaming", found["streaming"])
    for condition in found.get("conditions", ()):
        why = f": {condition['reason']}: {condition['message']}" if not condition["ok"] else ""
        _line(condition["type"], f"{'yes' if condition['ok'] else 'no'}{why}")
    for key in ("pods", "containers"):
        if key in found:
            _line(key, ", ".join(f"{count} {name}" for name, count in found[key].items()) or "none")
    if "images" in found:
        _line("images", str(found["images"]))
    if "reboot" in found:
        reboot = found["reboot"]
        ended = f"{reboot['containers']} containers and {reboot['pods']} pods had ended"
        _line("reboot", f"{ended}, seen {ago(reboot['at'])}")
    for key in ("recovery", "collection"):
        if key in found:
            _line(key, _collected(found[key]))
    if "reload" in found:
        _line("reload", f"{ago(found['reload']['at'])}: {found['reload']['error'] or 'right'}")


def _collected(entry: dict[str, Any]) -> str:
    counts = [
        f"{entry[kind]} {kind}"
        for kind in ("containers", "sandboxes", "orphans", "layers", "leftovers")
        if entry.get(kind)
    ]
    took = span(entry["seconds"])
    text = f"{ago(entry['at'])}, {took}: {', '.join(counts) or 'nothing was left'}"
    return "; ".join((text, *entry.get("failures", ())))


def _line(name: str, value: str) -> None:
    print(f"{name + ':':<14} {printable(value)}")
