"""Validation of a Pod's containers."""

from __future__ import annotations

import re

from orlop.system.kube import names
from orlop.system.kube.downward import check_field, check_resource
from orlop.system.kube.environment import references
from orlop.system.kube.findings import Findings
from orlop.system.kube.model import (
    Container,
    EnvFrom,
    EnvSource,
    PodSpec,
    ResourceRequirements,
    VolumeMount,
)
from orlop.system.kube.problem import Path
from orlop.system.kube.quantity import ZERO
from orlop.system.kube.resources import CPU, DISK, HUGE, MEMORY, PIDS
from orlop.system.kube.validate_probe import check_lifecycle, check_probe
from orlop.system.kube.validate_security import check_container_security

_PORTS = 65535
_RULES = 20
_HUGE_PAGE = re.compile(r"hugepages-\d+(Ki|Mi|Gi)")


def check_container(found: Findings, path: Path, container: Container, spec: PodSpec, *, init: bool) -> None:
    found.error((*path, "name"), names.label(container.name))
    if not container.image or container.image != container.image.strip():
        found.error(
            (*path, "image"), "must not begin or end with a blank" if container.image else "is required"
        )
    if not container.termination_message_path.startswith("/"):
        found.error((*path, "terminationMessagePath"), "is not absolute")
    _check_ports(found, path, container, spec)
    _check_environment(found, path, container)
    _check_mounts(found, path, container, spec)
    _check_probes(found, path, container, init=init)
    check_lifecycle(found, (*path, "lifecycle"), container)
    check_resources(found, (*path, "resources"), container.resources)
    check_container_security(found, (*path, "securityContext"), container.security_context)
    _check_restart(found, path, container)


def check_resources(
    found: Findings, path: Path, resources: ResourceRequirements, *, pod: bool = False
) -> None:
    for field, given in (("limits", resources.limits), ("requests", resources.requests)):
        for name, quantity in given.items():
            here = (*path, field, name)
            found.error(here, _resource_name(name, field, pod=pod))
            if quantity < ZERO:
                found.error(here, "must not be negative")
            if name == DISK:
                found.warn(here, "has no effect: what containers write is not limited")
    for name, request in resources.requests.items():
        limit = resources.limits.get(name)
        if limit is not None and limit < request:
            found.error((*path, "requests", name), f"{request} is more than the limit, {limit}")
        elif name.startswith(HUGE) and limit != request:
            found.error((*path, "requests", name), "must equal the limit")


def _resource_name(name: str, field: str, *, pod: bool) -> str:
    known = [CPU, MEMORY, *([] if pod else [DISK]), *([PIDS] if field == "limits" else [])]
    if name in known or _HUGE_PAGE.fullmatch(name):
        return ""
    return f"is not supported; resources here are {', '.join(known)} and hugepages-<size>"


def _check_ports(found: Findings, path: Path, container: Container, spec: PodSpec) -> None:
    found.unique((*path, "ports"), (each.name or f" {number}" for number, each in enumerate(container.ports)))
    for number, port in enumerate(container.ports):
        here = (*path, "ports", number)
        found.between((*here, "containerPort"), port.container_port, 1, _PORTS)
        found.between((*here, "hostPort"), port.host_port, 0, _PORTS)
        if port.name:
            found.error((*here, "name"), names.port(port.name))
        if port.host_ip:
            found.error((*here, "hostIP"), names.address(port.host_ip))
        if spec.host_network and port.host_port not in (0, port.container_port):
            found.error((*here, "hostPort"), "is containerPort where hostNetwork is set")


def _check_environment(found: Findings, path: Path, container: Container) -> None:
    for number, variable in enumerate(container.env):
        here = (*path, "env", number)
        found.error((*here, "name"), names.environment(variable.name))
        if variable.value_from is not None:
            if variable.value:
                found.error((*here, "valueFrom"), "and value are both given")
            _check_source(found, (*here, "valueFrom"), variable.value_from, container)
    for number, source in enumerate(container.env_from):
        _check_env_from(found, (*path, "envFrom", number), source)


def _check_env_from(found: Findings, path: Path, source: EnvFrom) -> None:
    found.exactly_one(path, source, ("configMapRef", "secretRef"))
    if source.prefix:
        found.error((*path, "prefix"), names.environment(source.prefix))
    for field, ref in (("configMapRef", source.config_map_ref), ("secretRef", source.secret_ref)):
        if ref is not None:
            found.error((*path, field, "name"), names.subdomain(ref.name))


def _check_source(found: Findings, path: Path, source: EnvSource, container: Container) -> None:
    found.exactly_one(path, source, ("fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef"))
    if source.field_ref is not None:
        found.error((*path, "fieldRef", "fieldPath"), check_field(source.field_ref.field_path, volume=False))
    if source.resource_field_ref is not None:
        here = (*path, "resourceFieldRef")
        found.error(here, check_resource(source.resource_field_ref))
        if source.resource_field_ref.container_name not in ("", container.name):
            found.error((*here, "containerName"), "is another container's")
    for field, ref in (
        ("configMapKeyRef", source.config_map_key_ref),
        ("secretKeyRef", source.secret_key_ref),
    ):
        if ref is not None:
            found.error((*path, field, "name"), names.subdomain(ref.name))
            found.error((*path, field, "key"), names.data_key(ref.key))


def _check_mounts(found: Findings, path: Path, container: Container, spec: PodSpec) -> None:
    mounts = (*path, "volumeMounts")
    paths = (each.mount_path.rstrip("/") for each in container.volume_mounts)
    found.unique(mounts, paths, "mountPath")
    declared = {volume.name for volume in spec.volumes}
    for number, mount in enumerate(container.volume_mounts):
        here = (*mounts, number)
        if mount.name not in declared:
            found.error((*here, "name"), f"there is no volume {mount.name!r} in spec.volumes")
        _check_mount(found, here, mount, container)


def _check_mount(found: Findings, path: Path, mount: VolumeMount, container: Container) -> None:
    if not mount.mount_path.startswith("/"):
        found.error((*path, "mountPath"), f"{mount.mount_path!r} is not absolute")
    elif ".." in mount.mount_path.split("/") or not mount.mount_path.strip("/"):
        found.error((*path, "mountPath"), f"{mount.mount_path!r} is no place for a volume")
    if mount.sub_path and mount.sub_path_expr:
        found.error((*path, "subPathExpr"), "and subPath are both given")
    for field, sub_path in (("subPath", mount.sub_path), ("subPathExpr", mount.sub_path_expr)):
        if sub_path:
            found.error((*path, field), names.inner_path(sub_path))
    known = {each.name for each in container.env}
    for name in references(mount.sub_path_expr):
        if name not in known and not container.env_from:
            found.error((*path, "subPathExpr"), f"there is no variable {name!r}")
    if mount.recursive_read_only != "Disabled":
        if not mount.read_only:
            found.error((*path, "recursiveReadOnly"), "is for mounts with readOnly")
        if mount.mount_propagation != "None":
            found.error((*path, "recursiveReadOnly"), "is for mounts without mountPropagation")
    if mount.mount_propagation == "Bidirectional" and not container.security_context.privileged:
        found.error((*path, "mountPropagation"), "Bidirectional is for privileged containers")


def _check_probes(found: Findings, path: Path, container: Container, *, init: bool) -> None:
    probes = (
        ("livenessProbe", container.liveness_probe),
        ("readinessProbe", container.readiness_probe),
        ("startupProbe", container.startup_probe),
    )
    passing = init and container.restart_policy != "Always"
    for field, probe in probes:
        if probe is not None and passing:
            found.error(
                (*path, field), "is not for init containers that end (restartPolicy: Always is a sidecar)"
            )
        elif probe is not None:
            check_probe(found, (*path, field), probe, container)
    lifecycle = container.lifecycle
    if passing and (lifecycle.post_start or lifecycle.pre_stop):
        found.error((*path, "lifecycle"), "is not for init containers that end")


def _check_restart(found: Findings, path: Path, container: Container) -> None:
    rules = container.restart_policy_rules
    here = (*path, "restartPolicyRules")
    if rules and not container.restart_policy:
        found.error((*path, "restartPolicy"), "is required with restartPolicyRules")
    if len(rules) > _RULES:
        found.error(here, f"are more than {_RULES}")
    for number, rule in enumerate(rules):
        if rule.exit_codes is None:
            found.error((*here, number, "exitCodes"), "is required")
            continue
        for index, code in enumerate(rule.exit_codes.values):
            found.between((*here, number, "exitCodes", "values", index), code, 0, 255)
