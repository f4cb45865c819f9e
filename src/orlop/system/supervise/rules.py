"""From a pod as Kubernetes declares it to the rules that the supervisor keeps it by."""

from __future__ import annotations

from orlop.kit.errors import InvalidInput
from orlop.system.kube import model as kube
from orlop.system.probes.model import (
    Action,
    ExecAction,
    GrpcAction,
    HttpAction,
    Probe,
    SleepAction,
    TcpAction,
)
from orlop.system.supervise.model import ContainerRule, PodRule


def pod_rule(uid: str, pod: kube.Pod) -> PodRule:
    """The rules of `pod`. Raises InvalidInput where a probe names a port that its container has not."""
    spec = pod.spec
    containers = [_container(pod, each, init=True) for each in spec.init_containers]
    containers += [_container(pod, each, init=False) for each in spec.containers]
    return PodRule(
        uid=uid,
        name=pod.metadata.name,
        namespace=pod.metadata.namespace,
        containers=tuple(containers),
        grace=float(spec.termination_grace_period_seconds),
        deadline=float(spec.active_deadline_seconds or 0),
        host_network=spec.host_network,
    )


def _container(pod: kube.Pod, container: kube.Container, *, init: bool) -> ContainerRule:
    sidecar = init and container.restart_policy == "Always"
    restart = container.restart_policy or pod.spec.restart_policy
    if init and not sidecar and restart == "Always":
        restart = "OnFailure"  # an init container is done once it succeeded
    return ContainerRule(
        name=container.name,
        kind="sidecar" if sidecar else "init" if init else "main",
        restart=restart,
        restart_codes=tuple(
            (rule.exit_codes.operator == "In", rule.exit_codes.values)
            for rule in container.restart_policy_rules
            if rule.exit_codes is not None
        ),
        startup=_probe(container, container.startup_probe),
        liveness=_probe(container, container.liveness_probe),
        readiness=_probe(container, container.readiness_probe),
        post_start=_action(container, container.lifecycle.post_start),
        pre_stop=_action(container, container.lifecycle.pre_stop),
    )


def _probe(container: kube.Container, probe: kube.Probe | None) -> Probe | None:
    action = _action(container, probe)
    if probe is None or action is None:
        return None
    grace = probe.termination_grace_period_seconds
    return Probe(
        action=action,
        initial_delay=float(probe.initial_delay_seconds),
        period=float(probe.period_seconds),
        timeout=float(probe.timeout_seconds),
        success_threshold=probe.success_threshold,
        failure_threshold=probe.failure_threshold,
        grace=None if grace is None else float(grace),
    )


def _action(container: kube.Container, handler: kube.Probe | kube.Handler | None) -> Action | None:
    if handler is None:
        return None
    if handler.exec is not None:
        return ExecAction(handler.exec.command)
    if handler.http_get is not None:
        get = handler.http_get
        headers = tuple((header.name, header.value) for header in get.http_headers)
        return HttpAction(_port(container, get.port), get.path or "/", get.host, get.scheme, headers)
    if handler.tcp_socket is not None:
        return TcpAction(_port(container, handler.tcp_socket.port), handler.tcp_socket.host)
    if isinstance(handler, kube.Probe):
        return GrpcAction(handler.grpc.port, handler.grpc.service) if handler.grpc is not None else None
    return SleepAction(float(handler.sleep.seconds)) if handler.sleep is not None else None


def _port(container: kube.Container, port: int | str) -> int:
    number = container.port_number(port)
    if number is None:
        raise InvalidInput(
            f"container {container.name}", f"has no port named {port!r}", hint="name it under `ports`"
        )
    return number
