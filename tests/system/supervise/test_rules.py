"""From what Kubernetes declares to the rules that a pod is kept by."""

from __future__ import annotations

from typing import Any

import pytest

from orlop.kit.errors import InvalidInput
from orlop.system.kube import model as kube
from orlop.system.probes.model import ExecAction, GrpcAction, HttpAction, Probe, SleepAction, TcpAction
from orlop.system.supervise.model import PodRule
from orlop.system.supervise.rules import pod_rule
from tests.system.supervise.bench import container, desired


def rule(*containers: kube.Container, **spec: Any) -> PodRule:
    return pod_rule("u", desired(*containers, **spec).pod)


def test_kinds_and_restarts_of_containers() -> None:
    init = (container("first"), container("side", restart_policy="Always"))
    made = rule(container("app"), init_containers=init)
    assert [(c.name, c.kind, c.restart) for c in made.containers] == [
        ("first", "init", "OnFailure"),
        ("side", "sidecar", "Always"),
        ("app", "main", "Always"),
    ]
    made = rule(container("app"), container("own", restart_policy="OnFailure"), restart_policy="Never")
    assert [c.restart for c in made.containers] == ["Never", "OnFailure"]


def test_restart_rules_by_exit_code() -> None:
    codes = kube.RestartRuleExitCodes(operator="In", values=(42,))
    own = container(
        "app",
        restart_policy="Never",
        restart_policy_rules=(kube.RestartRule(action="Restart", exit_codes=codes),),
    )
    (made,) = rule(own).containers
    assert made.restart_codes == ((True, (42,)),)


def test_each_kind_of_probe_and_named_ports() -> None:
    ports = (kube.ContainerPort(container_port=8080, name="http"),)
    get = kube.HTTPGetAction(port="http", path="/x", http_headers=(kube.HTTPHeader(name="A", value="b"),))
    app = container(
        "app",
        ports=ports,
        startup_probe=kube.Probe(http_get=get, termination_grace_period_seconds=3),
        liveness_probe=kube.Probe(tcp_socket=kube.TCPSocketAction(port="http"), period_seconds=2),
        readiness_probe=kube.Probe(grpc=kube.GRPCAction(port=9, service="s"), success_threshold=4),
    )
    (made,) = rule(app).containers
    assert made.startup == Probe(HttpAction(8080, "/x", headers=(("A", "b"),)), grace=3.0)
    assert made.liveness == Probe(TcpAction(8080), period=2.0)
    assert made.readiness == Probe(GrpcAction(9, "s"), success_threshold=4)


def test_hooks() -> None:
    app = container(
        "app",
        lifecycle=kube.Lifecycle(
            post_start=kube.Handler(exec=kube.ExecAction(command=("hello",))),
            pre_stop=kube.Handler(sleep=kube.SleepAction(seconds=3)),
        ),
    )
    (made,) = rule(app).containers
    assert (made.post_start, made.pre_stop) == (ExecAction(("hello",)), SleepAction(3.0))


def test_a_port_that_has_no_name_is_refused() -> None:
    app = container("app", liveness_probe=kube.Probe(tcp_socket=kube.TCPSocketAction(port="nope")))
    with pytest.raises(InvalidInput, match="no port named 'nope'"):
        rule(app)


def test_times_of_the_pod() -> None:
    made = rule(container("app"), termination_grace_period_seconds=7, active_deadline_seconds=60)
    assert (made.grace, made.deadline) == (7.0, 60.0)
