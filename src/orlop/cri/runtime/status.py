"""Whether the runtime is well, and what it can do."""

from __future__ import annotations

import json
from collections.abc import Callable

from orlop.cri.proto import cri_pb2 as pb
from orlop.cri.service import Service
from orlop.kit.errors import OrlopError
from orlop.network.settings import NetworkSettings
from orlop.pod.context import Pods


def status(service: Service, request: pb.StatusRequest) -> pb.StatusResponse:
    """The conditions that the kubelet waits for, the runtime handlers and their features."""
    pods = service.pods
    conditions = [
        _condition("RuntimeReady", "RuntimeNotReady", lambda: _look_at_runtime(pods)),
        _condition("NetworkReady", "NetworkPluginNotReady", lambda: _look_at_network(pods)),
    ]
    return pb.StatusResponse(
        status=pb.RuntimeStatus(conditions=conditions),
        runtime_handlers=_handlers(pods),
        features=pb.RuntimeFeatures(supplemental_groups_policy=True),
        info={"config": json.dumps(_settings(service))} if request.verbose else {},
    )


def _condition(name: str, reason: str, look: Callable[[], object]) -> pb.RuntimeCondition:
    try:
        look()
    except OrlopError as error:
        message = f"{error.subject}: {error.cause} ({error.hint})"
        return pb.RuntimeCondition(type=name, status=False, reason=reason, message=message)
    return pb.RuntimeCondition(type=name, status=True)


def _look_at_runtime(pods: Pods) -> None:
    """Raises where containers could not run: no OCI runtime, a wrong configuration, records out of reach."""
    _ = pods.engine.features
    pods.records.unfinished()


def _look_at_network(pods: Pods) -> None:
    """Raises where pods would get no addresses. Our own bridge is made with the first pod."""
    if pods.config.section("network", NetworkSettings).config_dir:
        pods.network.status()


def _handlers(pods: Pods) -> list[pb.RuntimeHandler]:
    """All that a pod may ask for; one whose program is missing has no features."""
    found = []
    for name in sorted(pods.engine.handlers):
        handler = pb.RuntimeHandler(name=name)
        try:
            features = pods.engine.features_of(name)
        except OrlopError:
            pass
        else:
            handler.features.recursive_read_only_mounts = features.recursive_read_only
            handler.features.user_namespaces = features.user_namespaces
        found.append(handler)
    return found


def _settings(service: Service) -> dict[str, object]:
    pods = service.pods
    return {
        "root": pods.node.root,
        "state": pods.node.state,
        "config": pods.node.config,
        "cri": vars(service.settings),
        "runtime": vars(pods.engine.settings),
        "network": vars(pods.config.section("network", NetworkSettings)),
    }
