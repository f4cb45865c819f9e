"""What a pod declares, seen from inside its containers."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest
import yaml

from orlop.pod.exec_container import exec_sync
from tests.support.node import busybox, put_image
from tests.system.playing import CALM, Playing

pytestmark = pytest.mark.host

EXAMPLES = Path(__file__).parents[3] / "examples"

BASE = """
apiVersion: v1
kind: Pod
metadata:
  name: web
  labels: {app: shop}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: app
    image: busybox
    imagePullPolicy: Never
    command: [sh, -c, %r]
"""


class Inside:
    """A played pod; `sh` runs a script in a container of it and gives its output."""

    def __init__(self, played: Playing) -> None:
        self._played = played

    def play(self, *, spec: str = "", container: str = "", also: str = "") -> None:
        """The base pod with lines of YAML merged into its spec and its container, and more documents."""
        pod = yaml.safe_load(BASE % CALM)
        pod["spec"] |= yaml.safe_load(textwrap.dedent(spec)) or {}
        pod["spec"]["containers"][0] |= yaml.safe_load(textwrap.dedent(container)) or {}
        self._played.play(*yaml.safe_load_all(textwrap.dedent(also)), pod)

    def sh(self, script: str, container: str = "web/app") -> str:
        identifier = self._played.running()[container].id
        result = exec_sync(self._played.pods, identifier, ("sh", "-c", script), timeout=20)
        return (result.stdout + result.stderr).decode().strip()


@pytest.fixture
def inside(played: Playing) -> Inside:
    return Inside(played)


def test_variables_commands_and_files_arrive(inside: Inside) -> None:
    inside.play(
        also="""
        apiVersion: v1
        kind: ConfigMap
        metadata: {name: c}
        data: {k: from config, file.txt: "in a file\\n", run: "#!/bin/sh\\necho it runs"}
        ---
        apiVersion: v1
        kind: Secret
        metadata: {name: s}
        stringData: {t: hidden}
        """,
        spec="""
        volumes:
        - {name: c, configMap: {name: c, items: [{key: file.txt, path: deep/file.txt}]}}
        - {name: s, secret: {secretName: s, defaultMode: 0400}}
        - {name: r, configMap: {name: c, defaultMode: 0755}}
        - {name: e, emptyDir: {medium: Memory, sizeLimit: 1Mi}}
        - {name: d, downwardAPI: {items: [{path: app, fieldRef: {fieldPath: "metadata.labels['app']"}}]}}
        """,
        container="""
        workingDir: /tmp
        env:
        - {name: A, valueFrom: {configMapKeyRef: {name: c, key: k}}}
        - {name: B, value: "$(A) and $$(A)"}
        - {name: IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
        volumeMounts:
        - {name: c, mountPath: /c}
        - {name: c, mountPath: /one.txt, subPath: deep/file.txt}
        - {name: s, mountPath: /s}
        - {name: r, mountPath: /r}
        - {name: e, mountPath: /e}
        - {name: e, mountPath: /below, subPathExpr: logs/$(A)}
        - {name: d, mountPath: /d}
        """,
    )
    assert inside.sh('echo "$B"') == "from config and $(A)"
    assert inside.sh("cat /c/deep/file.txt /one.txt /s/t /d/app") == "in a file\nin a file\nhiddenshop"
    assert inside.sh("/r/run") == "it runs"
    assert inside.sh("cp /r/run /e/run; /e/run") == "it runs"
    assert inside.sh("touch /c/x") == "touch: /c/x: Read-only file system"
    assert inside.sh("stat -L -c %a /s/t; pwd") == "400\n/tmp"
    assert inside.sh("touch /below/x; ls '/e/logs/from config'") == "x"
    assert "No space left" in inside.sh("dd if=/dev/zero of=/e/big bs=1M count=2")
    assert inside.sh('hostname -i | grep -cF "$IP"; echo "$IP" | grep -c .') == "1\n1"


def test_changed_config_reaches_a_running_pod(inside: Inside, played: Playing) -> None:
    also = "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: c}}\ndata: {{k: {}}}"
    spec = "volumes: [{name: c, configMap: {name: c}}]"
    mount = "volumeMounts: [{name: c, mountPath: /c}]"
    inside.play(also=also.format("old"), spec=spec, container=mount)
    before = played.running()["web/app"].id
    inside.play(also=also.format("new"), spec=spec, container=mount)
    played.until(lambda: inside.sh("cat /c/k") == "new")
    assert played.running()["web/app"].id == before


def test_the_security_context_is_the_containers(inside: Inside) -> None:
    inside.play(
        spec="""
        securityContext: {runAsUser: 1000, runAsGroup: 1001, fsGroup: 2000, supplementalGroups: [3000]}
        volumes: [{name: e, emptyDir: {}}]
        """,
        container="""
        securityContext:
          runAsUser: 1234
          runAsNonRoot: true
          readOnlyRootFilesystem: true
          allowPrivilegeEscalation: false
          capabilities: {drop: [ALL]}
        volumeMounts: [{name: e, mountPath: /e}]
        """,
    )
    assert inside.sh("id -u; id -g") == "1234\n1001"
    assert set(inside.sh("id -G").split()) == {"1001", "2000", "3000"}
    assert inside.sh("touch /x") == "touch: /x: Read-only file system"
    assert inside.sh("touch /e/x; stat -c %g /e/x") == "2000"
    assert inside.sh("grep -E 'NoNewPrivs|CapEff' /proc/self/status | tr -d '\\t' | sort").splitlines() == [
        "CapEff:0000000000000000",
        "NoNewPrivs:1",
    ]


def test_names_and_addresses_of_the_pod(inside: Inside) -> None:
    inside.play(
        spec="""
        hostname: front
        subdomain: shop
        hostAliases: [{ip: 192.0.2.9, hostnames: [db, db.test]}]
        dnsPolicy: None
        dnsConfig: {nameservers: [192.0.2.53], searches: [a.test], options: [{name: ndots, value: "2"}]}
        securityContext: {sysctls: [{name: net.core.somaxconn, value: "99"}]}
        """
    )
    assert inside.sh("hostname") == "front"
    hosts = inside.sh("cat /etc/hosts")
    assert "front.shop.default.svc.cluster.local\tfront" in hosts
    assert "192.0.2.9\tdb db.test" in hosts
    assert inside.sh("cat /etc/resolv.conf").splitlines() == [
        "search a.test",
        "nameserver 192.0.2.53",
        "options ndots:2",
    ]
    assert inside.sh("cat /proc/sys/net/core/somaxconn") == "99"


def test_init_and_sidecar_containers_share_volumes_and_processes(inside: Inside) -> None:
    inside.play(
        spec=f"""
        shareProcessNamespace: true
        initContainers:
        - {{name: once, image: busybox, imagePullPolicy: Never, command: [sh, -c, "echo done > /e/once"],
           volumeMounts: [{{name: e, mountPath: /e}}]}}
        - {{name: side, image: busybox, imagePullPolicy: Never, restartPolicy: Always,
           command: [sh, -c, "cat /e/once > /e/side; {CALM}"],
           volumeMounts: [{{name: e, mountPath: /e}}]}}
        volumes: [{{name: e, emptyDir: {{}}}}]
        """,
        container="volumeMounts: [{name: e, mountPath: /e}]",
    )
    assert inside.sh("cat /e/once /e/side") == "done\ndone"
    assert int(inside.sh("ls -d /proc/[0-9]* | wc -l")) >= 4


def test_limits_are_the_cgroups(inside: Inside) -> None:
    inside.play(container="resources: {limits: {memory: 32Mi, cpu: 250m, pids: 50}}")
    probe = "cat /sys/fs/cgroup/{0} 2>/dev/null || cat /sys/fs/cgroup/{1}"
    assert inside.sh(probe.format("memory/memory.limit_in_bytes", "memory.max")) == str(32 << 20)
    assert inside.sh(probe.format("pids/pids.max", "pids.max")) == "50"
    assert inside.sh(probe.format("cpu/cpu.cfs_quota_us", "cpu.max")).split()[0] == "25000"


def test_a_claim_keeps_its_data_until_it_is_removed(inside: Inside, played: Playing) -> None:
    also = """
    apiVersion: v1
    kind: PersistentVolumeClaim
    metadata: {name: data}
    spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
    """
    spec = "volumes: [{name: d, persistentVolumeClaim: {claimName: data}}]"
    mount = "volumeMounts: [{name: d, mountPath: /d}]"
    inside.play(also=also, spec=spec, container=mount)
    inside.sh("echo kept > /d/file")
    kept = Path(played.node.in_root("volumes/default/data/data/file"))
    played.down(everything=True)
    assert kept.read_text() == "kept\n"
    inside.play(also=also, spec=spec, container=mount)
    assert inside.sh("cat /d/file") == "kept"
    played.down(everything=True, volumes=True)
    assert not kept.exists()


def test_the_termination_message_is_read(inside: Inside, played: Playing) -> None:
    inside.play(
        spec="restartPolicy: Never",
        container="command: [sh, -c, 'echo all is done > /dev/termination-log']",
    )
    played.until(lambda: played.status().phase == "Succeeded")
    (found,) = [each for each in played.pods.containers() if each.config.name == "app"]
    assert "all is done" in str(played.status())
    assert found.exit_code == 0


def test_the_web_example_runs(inside: Inside, played: Playing) -> None:
    put_image(played.node, "127.0.0.1:5055/hello:1", busybox())
    documents = list(yaml.safe_load_all((EXAMPLES / "web/web.yaml").read_text(encoding="utf-8")))
    played.play(*documents)
    assert played.names() == ["web-0", "web-1"]
    for pod in ("web-0/web", "web-1/web"):
        assert "<title>Orlop" in inside.sh("wget -qO- http://127.0.0.1:8080/", pod)
        assert inside.sh("ls /visits", pod).split() == ["web-0", "web-1"]
        assert (
            inside.sh('cat /run/token/token; echo " $GREETING"', pod)
            == "not-so-secret Hello from a ConfigMap"
        )
