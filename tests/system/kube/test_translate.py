from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from orlop.kit.errors import Denied, InvalidInput
from orlop.network.model import PortMapping
from orlop.pod.model import DNS, ContainerConfig, SandboxConfig
from orlop.runtime.model import Mount
from orlop.system.kube.translate import container_config, sandbox_config
from tests.system.kube.samples import FACTS, config_map, declared, desired, main, pod_yaml


def sandbox(spec: str, container: str = "", **more: str) -> SandboxConfig:
    return sandbox_config(desired(pod_yaml(spec, container, **more)), FACTS)


def container(spec: str, lines: str, **more: Any) -> ContainerConfig:
    objects = config_map("c", k="v")
    pod = desired(pod_yaml(spec, lines), objects)
    volumes = {volume.name: f"/volumes/{volume.name}" for volume in pod.pod.spec.volumes}
    return container_config(pod, main(pod), FACTS, declared(objects).data, volumes=volumes, **more)


def test_a_sandbox_has_what_the_pod_says() -> None:
    found = sandbox(
        "hostIPC: true\nshareProcessNamespace: true\nhostAliases: [{ip: 1.2.3.4, hostnames: [a, b]}]\n"
        "securityContext: {sysctls: [{name: net/core/somaxconn, value: '9'}]}",
        "ports: [{containerPort: 80, hostPort: 8080, protocol: UDP, hostIP: 127.0.0.1}, {containerPort: 81}]",
        metadata="name: web\nlabels: {app: x}\nannotations: {a: b}",
    )
    assert (found.name, found.namespace, found.hostname, found.network) == ("web", "default", "web", "pod")
    assert (found.host_ipc, found.host_pid, found.shared_pid) == (True, False, True)
    assert found.ports == (PortMapping(8080, 80, "udp", "127.0.0.1"),)
    assert found.host_aliases == (("1.2.3.4", ("a", "b")),)
    assert dict(found.sysctls) == {"net.core.somaxconn": "9"}
    assert found.labels["app"] == "x"
    assert found.labels["io.kubernetes.pod.name"] == "web"
    assert dict(found.annotations) == {"a": "b"}


def test_on_the_hosts_network_ports_are_not_mapped() -> None:
    found = sandbox("hostNetwork: true", "ports: [{containerPort: 80, hostPort: 80}]")
    assert (found.network, found.ports) == ("host", ())


@pytest.mark.parametrize(
    ("spec", "hostname", "domain"),
    [
        ("hostname: h", "h", ""),
        ("subdomain: s", "web", "s.default.svc.cluster.local"),
        (
            "hostname: h\nsubdomain: s\nsetHostnameAsFQDN: true",
            "h.s.default.svc.cluster.local",
            "s.default.svc.cluster.local",
        ),
        ("setHostnameAsFQDN: true", "web", ""),
        ("hostname: h\nsubdomain: s\nhostnameOverride: other.name", "other.name", ""),
    ],
)
def test_the_host_name_is_the_kubelets(spec: str, hostname: str, domain: str) -> None:
    found = sandbox(spec)
    assert (found.hostname, found.domain) == (hostname, domain)


def test_a_host_name_that_the_kernel_would_not_take_is_refused() -> None:
    with pytest.raises(InvalidInput, match="longer than 64"):
        sandbox(f"subdomain: {'s' * 50}\nsetHostnameAsFQDN: true")


def test_dns_config_is_added_to_the_policys() -> None:
    facts = replace(FACTS, dns=DNS(("9.9.9.9",), ("example.org",), ("ndots:1", "rotate")))
    options = "options: [{name: ndots, value: '5'}, {name: edns0}]"
    config = f"dnsConfig: {{nameservers: [1.1.1.1], searches: [a.b], {options}}}"

    def dns(spec: str) -> DNS:
        return sandbox_config(desired(pod_yaml(spec)), facts).dns

    assert dns("") == DNS()
    assert dns("dnsPolicy: Default") == DNS()
    assert dns(config) == DNS(("9.9.9.9", "1.1.1.1"), ("example.org", "a.b"), ("rotate", "ndots:5", "edns0"))
    assert dns(config + "\ndnsPolicy: None") == DNS(("1.1.1.1",), ("a.b",), ("ndots:5", "edns0"))


def test_commands_and_variables_are_expanded() -> None:
    found = container("", "command: [sh, '$(A)', '$$(A)']\nargs: ['$(B)']\nenv: [{name: A, value: x}]")
    assert found.command == ("sh", "x", "$(A)")
    assert found.args == ("$(B)",)
    assert found.env == (("A", "x"),)


def test_without_command_and_args_the_images_are_used() -> None:
    found = container("", "")
    assert (found.command, found.args, found.image) == (None, None, "busybox")


def test_mounts_lead_to_the_prepared_volumes() -> None:
    found = container(
        "volumes: [{name: e}, {name: c, configMap: {name: c}}, {name: h, hostPath: {path: /x}}]",
        """
        env: [{name: POD, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]
        volumeMounts:
        - {name: e, mountPath: /e, subPathExpr: $(POD)/x}
        - {name: c, mountPath: /c}
        - {name: h, mountPath: /h, readOnly: true, mountPropagation: HostToContainer}
        - {name: h, mountPath: /r, readOnly: true, recursiveReadOnly: Enabled}
        """,
        termination_log="/log",
    )
    assert found.mounts == (
        Mount("/e", source="/volumes/e", sub_path="web/x"),
        Mount("/c", source="/volumes/c", read_only=True),
        Mount("/h", source="/volumes/h", read_only=True, propagation="rslave"),
        Mount("/r", source="/volumes/h", read_only=True, recursive_read_only=True),
        Mount("/dev/termination-log", source="/log"),
    )


def test_a_sub_path_that_leaves_its_volume_is_refused() -> None:
    lines = "env: [{name: A, value: ../../etc}]\nvolumeMounts: [{name: e, mountPath: /e, subPathExpr: $(A)}]"
    with pytest.raises(InvalidInput, match=r"must not hold \.\."):
        container("volumes: [{name: e}]", lines)


def test_the_containers_security_outranks_the_pods() -> None:
    found = container(
        "securityContext: {runAsUser: 1, runAsGroup: 2, supplementalGroups: [5, 6], fsGroup: 7,"
        " seccompProfile: {type: Unconfined}}",
        "securityContext: {runAsUser: 3, readOnlyRootFilesystem: true, allowPrivilegeEscalation: false,"
        " capabilities: {add: [net_admin, CAP_SYS_TIME], drop: [ALL]},"
        " seccompProfile: {type: RuntimeDefault}}",
    ).security
    assert (found.user, found.groups, found.seccomp) == ("3:2", (5, 6, 7), "default")
    assert found.groups_policy == "merge"
    assert (found.read_only_root, found.no_new_privileges, found.privileged) == (True, True, False)
    assert (found.add_capabilities, found.drop_capabilities) == (("CAP_NET_ADMIN", "CAP_SYS_TIME"), ("ALL",))
    assert found.masked_paths is None


def test_the_images_groups_count_unless_the_policy_is_strict() -> None:
    text = "securityContext: {supplementalGroupsPolicy: Strict, supplementalGroups: [5]}"
    assert container(text, "").security.groups_policy == "strict"


@pytest.mark.parametrize(
    ("context", "image_user", "user"),
    [
        ("", "7", ""),
        ("runAsUser: 5", "7", "5"),
        ("runAsGroup: 5", "7:8", "7:5"),
        ("runAsGroup: 5", "", "0:5"),
        ("runAsNonRoot: true", "7", ""),
        ("runAsNonRoot: true, runAsUser: 5", "root", "5"),
    ],
)
def test_the_user_is_the_containers_the_pods_or_the_images(context: str, image_user: str, user: str) -> None:
    found = container("", f"securityContext: {{{context}}}", image_user=image_user)
    assert found.security.user == user


@pytest.mark.parametrize(
    ("context", "image_user", "words"),
    [
        ("", "", "would run as root"),
        ("", "0:5", "would run as root"),
        ("", "nobody", "is a name"),
        ("runAsUser: 0", "7", "would run as root"),
    ],
)
def test_run_as_non_root_is_enforced(context: str, image_user: str, words: str) -> None:
    with pytest.raises(Denied, match=words):
        container(
            "securityContext: {runAsNonRoot: true}", f"securityContext: {{{context}}}", image_user=image_user
        )


@pytest.mark.parametrize(
    ("context", "seccomp", "masked"),
    [
        ("", "default", None),
        ("privileged: true", "unconfined", None),
        ("seccompProfile: {type: Localhost, localhostProfile: a/b.json}", "/profiles/a/b.json", None),
        ("procMount: Unmasked", "default", ()),
    ],
)
def test_profiles_and_masks(context: str, seccomp: str, masked: tuple[str, ...] | None) -> None:
    found = container("", f"securityContext: {{{context}}}").security
    assert (found.seccomp, found.masked_paths, found.read_only_paths) == (seccomp, masked, masked)


def test_terminal_input_and_stop_signal_are_passed_on() -> None:
    found = container("", "stdin: true\nstdinOnce: true\ntty: true\nlifecycle: {stopSignal: SIGUSR1}")
    assert (found.stdin, found.stdin_once, found.terminal, found.stop_signal) == (True, True, True, "SIGUSR1")
