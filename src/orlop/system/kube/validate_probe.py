"""Validation of probes and lifecycle hooks."""

from __future__ import annotations

import re

from orlop.system.kube import names
from orlop.system.kube.findings import Findings
from orlop.system.kube.model import (
    Container,
    ExecAction,
    GRPCAction,
    Handler,
    HTTPGetAction,
    Probe,
    SleepAction,
    TCPSocketAction,
)
from orlop.system.kube.problem import Path

_INT32 = 2**31 - 1
_PORTS = 65535
_SIGNAL = re.compile(r"SIG[A-Z0-9]+([+-]\d{1,2})?")

Action = ExecAction | HTTPGetAction | TCPSocketAction | GRPCAction | SleepAction


def check_probe(found: Findings, path: Path, probe: Probe, container: Container) -> None:
    found.exactly_one(path, probe, ("exec", "httpGet", "tcpSocket", "grpc"))
    actions = {
        "exec": probe.exec,
        "httpGet": probe.http_get,
        "tcpSocket": probe.tcp_socket,
        "grpc": probe.grpc,
    }
    for field, action in actions.items():
        if action is not None:
            _check_action(found, (*path, field), action, container)
    found.between((*path, "initialDelaySeconds"), probe.initial_delay_seconds, 0, _INT32)
    for field, number in (
        ("timeoutSeconds", probe.timeout_seconds),
        ("periodSeconds", probe.period_seconds),
        ("successThreshold", probe.success_threshold),
        ("failureThreshold", probe.failure_threshold),
        ("terminationGracePeriodSeconds", probe.termination_grace_period_seconds),
    ):
        found.between((*path, field), number, 1, _INT32)
    readiness = path[-1] == "readinessProbe"
    if not readiness and probe.success_threshold != 1:
        found.error((*path, "successThreshold"), f"must be 1 in a {path[-1]}")
    if readiness and probe.termination_grace_period_seconds is not None:
        found.error(
            (*path, "terminationGracePeriodSeconds"), "is not for a readinessProbe, which ends nothing"
        )


def check_lifecycle(found: Findings, path: Path, container: Container) -> None:
    lifecycle = container.lifecycle
    for field, handler in (("postStart", lifecycle.post_start), ("preStop", lifecycle.pre_stop)):
        if handler is not None:
            _check_handler(found, (*path, field), handler, container)
    if lifecycle.stop_signal and not _SIGNAL.fullmatch(lifecycle.stop_signal):
        found.error((*path, "stopSignal"), f"{lifecycle.stop_signal!r} is no signal, such as SIGTERM")


def _check_handler(found: Findings, path: Path, handler: Handler, container: Container) -> None:
    found.exactly_one(path, handler, ("exec", "httpGet", "tcpSocket", "sleep"))
    actions = {
        "exec": handler.exec,
        "httpGet": handler.http_get,
        "tcpSocket": handler.tcp_socket,
        "sleep": handler.sleep,
    }
    for field, action in actions.items():
        if action is not None:
            _check_action(found, (*path, field), action, container)


def _check_action(found: Findings, path: Path, action: Action, container: Container) -> None:
    match action:
        case ExecAction():
            if not action.command:
                found.error((*path, "command"), "is required")
        case HTTPGetAction():
            _check_port(found, path, action.port, container)
            _check_http(found, path, action)
        case TCPSocketAction():
            _check_port(found, path, action.port, container)
        case GRPCAction():
            found.between((*path, "port"), action.port, 1, _PORTS)
        case SleepAction():
            found.between((*path, "seconds"), action.seconds, 0, _INT32)


def _check_http(found: Findings, path: Path, action: HTTPGetAction) -> None:
    if any(ord(letter) <= ord(" ") for letter in action.path):
        found.error((*path, "path"), f"{action.path!r} holds blanks")
    for number, header in enumerate(action.http_headers):
        here = (*path, "httpHeaders", number)
        found.error((*here, "name"), names.header(header.name))
        if any(letter in header.value for letter in "\r\n"):
            found.error((*here, "value"), "is more than one line")


def _check_port(found: Findings, path: Path, port: int | str, container: Container) -> None:
    number = container.port_number(port)
    if number is None:
        found.error((*path, "port"), f"this container has no port named {port!r}")
    else:
        found.between((*path, "port"), number, 1, _PORTS)
