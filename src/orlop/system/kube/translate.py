"""From a desired pod to what `orlop.pod` takes.

Follows: kubernetes, pkg/kubelet/kuberuntime (what a kubelet asks a container runtime for).
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from orlop.kit.errors import Denied, InvalidInput
from orlop.network.model import PortMapping
from orlop.pod.model import DNS, ContainerConfig, SandboxConfig
from orlop.runtime.model import Mount, Security
from orlop.system.kube import names
from orlop.system.kube.environment import environment, expand
from orlop.system.kube.facts import Facts
from orlop.system.kube.model import Container, Data, DesiredPod, Pod, VolumeMount
from orlop.system.kube.resources import container_resources, pod_resources

CLUSTER_DOMAIN = "cluster.local"
_HOSTNAME = 63  # a pod's name is cut to this
_KERNEL_HOSTNAME = 64
_PROPAGATION = {"None": "rprivate", "HostToContainer": "rslave", "Bidirectional": "rshared"}


def sandbox_config(desired: DesiredPod, facts: Facts, *, attempt: int = 0) -> SandboxConfig:
    """The pod without its containers.

    `resources` are those of the pod's cgroup, as the kubelet computes them. Raises InvalidInput where the
    FQDN is to be the host name and the kernel takes no name as long.
    """
    pod, spec = desired.pod, desired.pod.spec
    domain = _domain(pod)
    return SandboxConfig(
        name=desired.name,
        uid=desired.uid,
        namespace=desired.namespace,
        attempt=attempt,
        hostname=_hostname(desired, domain),
        domain=domain,
        network="host" if spec.host_network else "pod",
        host_ipc=spec.host_ipc,
        host_pid=spec.host_pid,
        shared_pid=spec.share_process_namespace,
        ports=() if spec.host_network else _ports(pod),
        dns=_dns(pod, facts),
        host_aliases=tuple((alias.ip, alias.hostnames) for alias in spec.host_aliases),
        sysctls={each.name.replace("/", "."): each.value for each in spec.security_context.sysctls},
        resources=pod_resources(pod),
        labels=_labels(desired),
        annotations=pod.metadata.annotations,
    )


def container_config(
    desired: DesiredPod,
    container: Container,
    facts: Facts,
    data: Data,
    *,
    volumes: Mapping[str, str],
    termination_log: str = "",
    image_user: str = "",
    attempt: int = 0,
) -> ContainerConfig:
    """One container. `volumes` is what `volumes.prepare` returned, `image_user` the image's USER.

    `termination_log` is the host file that becomes the container's terminationMessagePath ("": none).
    Raises NotFound (a ConfigMap, Secret or key that is not optional), InvalidInput (a volume, a sub-path that
    expands to something that leaves it, a field path without value) and Denied (runAsNonRoot, and the user is
    root or, being a name of the image, cannot be told).
    """
    values = environment(desired, container, facts, data)
    mounts = [_mount(desired, each, values, volumes) for each in container.volume_mounts]
    if termination_log:
        mounts.append(Mount(container.termination_message_path, source=termination_log))
    return ContainerConfig(
        name=container.name,
        image=container.image,
        attempt=attempt,
        command=tuple(expand(each, values) for each in container.command) or None,
        args=tuple(expand(each, values) for each in container.args) or None,
        env=tuple(values.items()),
        working_dir=container.working_dir,
        mounts=tuple(mounts),
        resources=container_resources(desired.pod, container, facts),
        security=_security(desired, container, facts, image_user),
        terminal=container.tty,
        stdin=container.stdin,
        stdin_once=container.stdin_once,
        stop_signal=container.lifecycle.stop_signal,
        labels=_labels(desired) | {"io.kubernetes.container.name": container.name},
    )


def sub_path(desired: DesiredPod, mount: VolumeMount, values: Mapping[str, str]) -> str:
    """The path below the volume that is mounted, `values` being the container's environment; "": all of it.

    Raises InvalidInput where subPathExpr does not become a path inside.
    """
    if not mount.sub_path_expr:
        return mount.sub_path
    path = expand(mount.sub_path_expr, values)
    wrong = names.inner_path(path)
    if wrong or "$(" in path:
        cause = f"subPathExpr becomes {path!r}: {wrong or 'a variable of it is not set'}"
        hint = "correct subPathExpr or the variables in it"
        raise InvalidInput(f"pod {desired.key}: volume {mount.name}", cause, hint=hint)
    return path


def _hostname(desired: DesiredPod, domain: str) -> str:
    spec = desired.pod.spec
    hostname = spec.hostname_override or spec.hostname or desired.name[:_HOSTNAME].rstrip("-.")
    if not domain or not spec.set_hostname_as_fqdn:
        return hostname
    if len(f"{hostname}.{domain}") > _KERNEL_HOSTNAME:
        raise InvalidInput(
            f"pod {desired.key}",
            f"its FQDN {hostname}.{domain} is longer than {_KERNEL_HOSTNAME} characters",
            hint="shorten hostname or subdomain, or take setHostnameAsFQDN out",
        )
    return f"{hostname}.{domain}"


def _domain(pod: Pod) -> str:
    """What follows the host name in the pod's FQDN; "" without a subdomain."""
    if not pod.spec.subdomain or pod.spec.hostname_override:
        return ""
    return f"{pod.spec.subdomain}.{pod.metadata.namespace}.svc.{CLUSTER_DOMAIN}"


def _labels(desired: DesiredPod) -> dict[str, str]:
    """The pod's own and those by which tools of Kubernetes' nodes know a container."""
    return desired.pod.metadata.labels | {
        "io.kubernetes.pod.name": desired.name,
        "io.kubernetes.pod.namespace": desired.namespace,
        "io.kubernetes.pod.uid": desired.uid,
    }


def _ports(pod: Pod) -> tuple[PortMapping, ...]:
    return tuple(
        PortMapping(port.host_port, port.container_port, port.protocol.lower(), port.host_ip)
        for container in pod.every_container
        for port in container.ports
        if port.host_port
    )


def _dns(pod: Pod, facts: Facts) -> DNS:
    """dnsConfig added to what the policy gives; nothing of its own: `pod` takes the machine's."""
    config = pod.spec.dns_config
    own = DNS(
        servers=config.nameservers,
        searches=config.searches,
        options=tuple(
            each.name if each.value is None else f"{each.name}:{each.value}" for each in config.options
        ),
    )
    if own == DNS() or pod.spec.dns_policy == "None":
        return own
    base = facts.dns
    replaced = {option.partition(":")[0] for option in own.options}
    kept = tuple(option for option in base.options if option.partition(":")[0] not in replaced)
    return DNS(
        servers=_joined(base.servers, own.servers),
        searches=_joined(base.searches, own.searches),
        options=kept + own.options,
    )


def _joined(first: tuple[str, ...], second: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(first + second))


def _mount(
    desired: DesiredPod, mount: VolumeMount, values: Mapping[str, str], volumes: Mapping[str, str]
) -> Mount:
    if mount.name not in volumes:
        subject = f"pod {desired.key}: volume {mount.name}"
        raise InvalidInput(subject, "was not prepared", hint="declare it in spec.volumes")
    return Mount(
        destination=mount.mount_path,
        source=volumes[mount.name],
        read_only=mount.read_only or _is_read_only(desired.pod, mount.name),
        propagation=_PROPAGATION[mount.mount_propagation],
        sub_path=sub_path(desired, mount, values),
        recursive_read_only=mount.recursive_read_only == "Enabled",
    )


def _is_read_only(pod: Pod, name: str) -> bool:
    """What is filled from objects is never written by a container; a claim can be declared so."""
    volume = next(each for each in pod.spec.volumes if each.name == name)
    claim = volume.persistent_volume_claim
    filled = (volume.config_map, volume.secret, volume.downward_api, volume.projected)
    return any(each is not None for each in filled) or (claim is not None and claim.read_only)


def _security(desired: DesiredPod, container: Container, facts: Facts, image_user: str) -> Security:
    own, whole = container.security_context, desired.pod.spec.security_context
    fs_group = () if whole.fs_group is None else (whole.fs_group,)
    unmasked = own.proc_mount == "Unmasked"
    return Security(
        privileged=own.privileged,
        user=_user(desired, container, image_user),
        groups=tuple(dict.fromkeys(whole.supplemental_groups + fs_group)),
        groups_policy=whole.supplemental_groups_policy.lower(),
        add_capabilities=_capabilities(own.capabilities.add),
        drop_capabilities=_capabilities(own.capabilities.drop),
        read_only_root=own.read_only_root_filesystem,
        no_new_privileges=own.allow_privilege_escalation is False,
        seccomp=_seccomp(desired.pod, container, facts),
        masked_paths=() if unmasked else None,
        read_only_paths=() if unmasked else None,
    )


def _user(desired: DesiredPod, container: Container, image_user: str) -> str:
    """ "" (the image's), "uid" or "uid:gid"; the container's word outranks the pod's."""
    own, whole = container.security_context, desired.pod.spec.security_context
    uid = whole.run_as_user if own.run_as_user is None else own.run_as_user
    gid = whole.run_as_group if own.run_as_group is None else own.run_as_group
    must_not = whole.run_as_non_root if own.run_as_non_root is None else own.run_as_non_root
    by_image = image_user.partition(":")[0] or "0"
    if must_not:
        _check_not_root(desired, container, by_image if uid is None else str(uid))
    if uid is None and gid is None:
        return ""
    user = by_image if uid is None else str(uid)
    return user if gid is None else f"{user}:{gid}"


def _check_not_root(desired: DesiredPod, container: Container, user: str) -> None:
    subject = f"pod {desired.key}: container {container.name}"
    if not user.isdecimal():
        raise Denied(
            subject,
            f"runAsNonRoot is set and the image's user {user!r} is a name, so it could be root",
            hint="set securityContext.runAsUser to a number, or have the image do so",
        )
    if int(user) == 0:
        raise Denied(
            subject, "runAsNonRoot is set and it would run as root", hint="set securityContext.runAsUser"
        )


def _capabilities(given: tuple[str, ...]) -> tuple[str, ...]:
    """In the kernel's form; ALL stays ALL."""
    plain = (name.upper().removeprefix("CAP_") for name in given)
    return tuple("ALL" if name == "ALL" else f"CAP_{name}" for name in plain)


def _seccomp(pod: Pod, container: Container, facts: Facts) -> str:
    profile = container.security_context.seccomp_profile or pod.spec.security_context.seccomp_profile
    if container.security_context.privileged or (profile is not None and profile.type == "Unconfined"):
        return "unconfined"
    if profile is None or profile.type == "RuntimeDefault":
        return "default"
    return os.path.join(facts.seccomp_root, profile.localhost_profile)
