"""Validation of a Pod's specification, without its containers and volumes."""

from __future__ import annotations

from orlop.kit import limits
from orlop.system.kube import names
from orlop.system.kube.findings import Findings
from orlop.system.kube.model import Container, PodSpec
from orlop.system.kube.problem import Path
from orlop.system.kube.validate_container import check_container, check_resources
from orlop.system.kube.validate_security import LARGEST_ID, check_app_armor, check_seccomp
from orlop.system.kube.validate_volume import check_volume

_INT32 = 2**31 - 1
_NAMESERVERS, _SEARCHES = 3, 32  # MaxDNSNameservers, MaxDNSSearchPaths
_HOSTNAME = 64
#: Which kernel parameters belong to which namespace (kubelet, pkg/kubelet/sysctl, "namespaces").
_IPC_SYSCTLS = ("kernel.shm", "kernel.msg", "kernel.sem", "fs.mqueue.")
_NET_SYSCTLS = ("net.",)


def check_pod_spec(found: Findings, path: Path, spec: PodSpec) -> None:
    every = [*spec.init_containers, *spec.containers]
    if not spec.containers:
        found.error((*path, "containers"), "needs at least one container")
    if len(every) > limits.CONTAINERS_PER_POD:
        found.error((*path, "containers"), f"are more than {limits.CONTAINERS_PER_POD}")
    found.between((*path, "terminationGracePeriodSeconds"), spec.termination_grace_period_seconds, 0, _INT32)
    found.between((*path, "activeDeadlineSeconds"), spec.active_deadline_seconds, 1, _INT32)
    if spec.share_process_namespace and spec.host_pid:
        found.error((*path, "shareProcessNamespace"), "contradicts hostPID")
    found.unique((*path, "volumes"), (volume.name for volume in spec.volumes))
    for number, volume in enumerate(spec.volumes):
        check_volume(found, (*path, "volumes", number), volume, spec)
    for field, containers in (("initContainers", spec.init_containers), ("containers", spec.containers)):
        for number, container in enumerate(containers):
            here = (*path, field, number)
            check_container(found, here, container, spec, init=field == "initContainers")
    _check_container_names(found, path, spec)
    _check_host_ports(found, path, spec)
    _check_names(found, path, spec)
    _check_dns(found, path, spec)
    _check_security(found, (*path, "securityContext"), spec)
    check_resources(found, (*path, "resources"), spec.resources, pod=True)
    for number, secret in enumerate(spec.image_pull_secrets):
        found.error((*path, "imagePullSecrets", number, "name"), names.subdomain(secret.name))


def _check_container_names(found: Findings, path: Path, spec: PodSpec) -> None:
    seen: set[str] = set()
    for field, containers in (("initContainers", spec.init_containers), ("containers", spec.containers)):
        for number, container in enumerate(containers):
            if container.name in seen:
                found.error((*path, field, number, "name"), f"{container.name!r} stands twice")
            seen.add(container.name)


def _check_host_ports(found: Findings, path: Path, spec: PodSpec) -> None:
    """No two containers that run at once want the same port of the machine."""
    taken: set[tuple[str, str, int]] = set()
    sidecars = [each for each in spec.init_containers if each.restart_policy == "Always"]
    for field, containers in (("initContainers", sidecars), ("containers", spec.containers)):
        for container in containers:
            siblings: tuple[Container, ...] = getattr(
                spec, "init_containers" if field == "initContainers" else field
            )
            for number, port in enumerate(container.ports):
                wanted = (port.host_ip, port.protocol, port.host_port)
                here = (*path, field, siblings.index(container), "ports", number, "hostPort")
                if port.host_port and wanted in taken:
                    found.error(here, f"{port.host_port}/{port.protocol} stands twice in this pod")
                taken.add(wanted)


def _check_names(found: Findings, path: Path, spec: PodSpec) -> None:
    for field, name in (("hostname", spec.hostname), ("subdomain", spec.subdomain)):
        if name:
            found.error((*path, field), names.label(name))
    override = spec.hostname_override
    if override:
        here = (*path, "hostnameOverride")
        found.error(here, names.subdomain(override))
        if len(override) > _HOSTNAME:
            found.error(here, f"is longer than {_HOSTNAME} characters")
        if spec.set_hostname_as_fqdn:
            found.error((*path, "setHostnameAsFQDN"), "contradicts hostnameOverride")
        if spec.host_network:
            found.error((*path, "hostNetwork"), "contradicts hostnameOverride")
    for number, alias in enumerate(spec.host_aliases):
        here = (*path, "hostAliases", number)
        found.error((*here, "ip"), names.address(alias.ip))
        found.each((*here, "hostnames"), alias.hostnames, names.subdomain)
        if not alias.hostnames:
            found.error((*here, "hostnames"), "is required")


def _check_dns(found: Findings, path: Path, spec: PodSpec) -> None:
    here, config = (*path, "dnsConfig"), spec.dns_config
    found.each((*here, "nameservers"), config.nameservers, names.address)
    found.each((*here, "searches"), (each.removesuffix(".") for each in config.searches), _search)
    if len(config.nameservers) > _NAMESERVERS:
        found.error((*here, "nameservers"), f"are more than {_NAMESERVERS}")
    if len(config.searches) > _SEARCHES:
        found.error((*here, "searches"), f"are more than {_SEARCHES}")
    for number, option in enumerate(config.options):
        if not option.name or len(f"{option.name}{option.value}".split()) != 1:
            found.error((*here, "options", number), "name and value are one word each")
    if spec.dns_policy == "None" and not config.nameservers:
        found.error((*here, "nameservers"), "is required with dnsPolicy None")
    if spec.dns_policy.startswith("ClusterFirst"):
        found.warn((*path, "dnsPolicy"), f"{spec.dns_policy} is Default here: there is no cluster's DNS")


def _search(text: str) -> str:
    return "" if text == "" else names.subdomain(text.replace("_", "-").lower())


def _check_security(found: Findings, path: Path, spec: PodSpec) -> None:
    context = spec.security_context
    for field, number in (
        ("runAsUser", context.run_as_user),
        ("runAsGroup", context.run_as_group),
        ("fsGroup", context.fs_group),
    ):
        found.between((*path, field), number, 0, LARGEST_ID)
    for index, group in enumerate(context.supplemental_groups):
        found.between((*path, "supplementalGroups", index), group, 0, LARGEST_ID)
    check_seccomp(found, (*path, "seccompProfile"), context.seccomp_profile)
    check_app_armor(found, (*path, "appArmorProfile"), context.app_armor_profile)
    found.unique((*path, "sysctls"), (each.name.replace("/", ".") for each in context.sysctls))
    for index, each in enumerate(context.sysctls):
        here = (*path, "sysctls", index)
        found.error((*here, "name"), names.sysctl(each.name) or _namespace_of(each.name, spec))
        if len(each.value.splitlines()) != 1 or "+" in each.value:
            found.error((*here, "value"), "is one line, without +")


def _namespace_of(name: str, spec: PodSpec) -> str:
    name = name.replace("/", ".")
    if name.startswith(_NET_SYSCTLS):
        return f"{name!r} would change the machine's: hostNetwork is set" if spec.host_network else ""
    if name.startswith(_IPC_SYSCTLS):
        return f"{name!r} would change the machine's: hostIPC is set" if spec.host_ipc else ""
    return f"{name!r} belongs to the whole machine, not to a pod"
