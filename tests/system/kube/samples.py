"""Small declarations for the tests of kube and volumes."""

from __future__ import annotations

import textwrap

from orlop.system.kube.decode import decode
from orlop.system.kube.expand import pods_of
from orlop.system.kube.facts import Facts
from orlop.system.kube.model import Container, Data, Declaration, DesiredPod
from orlop.system.kube.problem import InvalidDeclaration

FACTS = Facts(
    node_name="machine",
    host_ips=("192.0.2.7",),
    cpu=4000,
    memory=8 << 30,
    seccomp_root="/profiles",
    pod_ips=("10.88.0.5", "fd00::5"),
)


def pod_yaml(spec: str = "", container: str = "", *, metadata: str = "name: web") -> str:
    """A Pod with one container; `spec` and `container` are lines of YAML that are added."""
    return (
        f"apiVersion: v1\nkind: Pod\nmetadata:\n{_indented(metadata, 2)}\nspec:\n{_indented(spec, 2)}\n"
        f"  containers:\n  - name: main\n    image: busybox\n{_indented(container, 4)}\n"
    )


def declared(*documents: str) -> Declaration:
    return decode("\n---\n".join(textwrap.dedent(each) for each in documents).encode(), source="test.yaml")


def desired(*documents: str, data: Data | None = None) -> DesiredPod:
    """The first pod of the documents."""
    declaration = declared(*documents)
    return pods_of(declaration, data or declaration.data)[0]


def main(pod: DesiredPod) -> Container:
    return pod.pod.spec.containers[0]


def problems(*documents: str) -> tuple[str, ...]:
    """What is wrong with them; () if nothing is."""
    try:
        declaration = declared(*documents)
        pods_of(declaration, declaration.data)
    except InvalidDeclaration as error:
        return error.problems
    return ()


def config_map(name: str, **entries: str) -> str:
    return _object("ConfigMap", name, "data", entries)


def secret(name: str, **entries: str) -> str:
    return _object("Secret", name, "stringData", entries)


def claim(name: str, size: str = "1Gi") -> str:
    return textwrap.dedent(
        f"""\
        apiVersion: v1
        kind: PersistentVolumeClaim
        metadata: {{name: {name}}}
        spec: {{accessModes: [ReadWriteOnce], resources: {{requests: {{storage: {size}}}}}}}
        """
    )


def _object(kind: str, name: str, field: str, entries: dict[str, str]) -> str:
    lines = "".join(f"  {key}: {value!r}\n" for key, value in entries.items())
    return f"apiVersion: v1\nkind: {kind}\nmetadata: {{name: {name}}}\n{field}:\n{lines}"


def _indented(text: str, by: int) -> str:
    return textwrap.indent(textwrap.dedent(text).strip("\n"), " " * by)
