from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orlop.kit.errors import NotFound
from orlop.system.kube.environment import environment, expand, references
from orlop.system.kube.model import Data
from tests.system.kube.samples import FACTS, config_map, declared, desired, main, pod_yaml, secret


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("$(A)", "1"),
        ("$(A)$(B)", "12"),
        ("$$(A)", "$(A)"),
        ("$$$(A)", "$1"),
        ("$$$$(A)", "$$(A)"),
        ("$(C)", "$(C)"),
        ("$A", "$A"),
        ("$", "$"),
        ("a$", "a$"),
        ("$(A", "$(A"),
        ("$($(A))", "$($(A))"),
        ("$(A) $(", "1 $("),
        ("$()", "$()"),
        ("", ""),
    ],
)
def test_references_are_expanded_as_kubernetes_does(text: str, result: str) -> None:
    assert expand(text, {"A": "1", "B": "2"}) == result


@given(st.text(st.characters(codec="ascii", exclude_characters="$")))
def test_text_without_a_dollar_stays(text: str) -> None:
    assert expand(text, {"A": "1"}) == text


@given(st.text(max_size=30))
def test_an_escaped_text_expands_to_itself(text: str) -> None:
    escaped = text.replace("$", "$$")
    assert expand(escaped, {"A": "1"}) == text
    assert references(escaped) == []


@given(st.text("$()AB x", max_size=20))
def test_expansion_follows_the_scanner_of_the_kubelet(text: str) -> None:
    assert expand(text, {"A": "1", "B": "$(A)"}) == _scanned(text, {"A": "1", "B": "$(A)"})


def _scanned(text: str, values: dict[str, str]) -> str:
    """The specification, letter by letter."""
    out, at = "", 0
    while at < len(text):
        rest = text[at:]
        if rest.startswith("$$"):
            out, at = out + "$", at + 2
        elif rest.startswith("$(") and ")" in rest:
            name = rest[2 : rest.index(")")]
            out, at = out + values.get(name, f"$({name})"), at + len(name) + 3
        else:
            out, at = out + text[at], at + 1
    return out


def test_variables_see_those_before_them_and_those_of_env_from() -> None:
    pod = desired(
        pod_yaml(
            container="""
            envFrom: [{prefix: P_, configMapRef: {name: c}}, {secretRef: {name: s}}]
            env:
            - {name: A, value: "$(P_k)-$(LATER)"}
            - {name: LATER, value: x}
            - {name: t, value: "$(A)"}
            """
        ),
        config_map("c", k="v"),
        secret("s", t="secret"),
    )
    data = declared(config_map("c", k="v"), secret("s", t="secret")).data
    assert environment(pod, main(pod), FACTS, data) == {
        "P_k": "v",
        "t": "v-$(LATER)",
        "A": "v-$(LATER)",
        "LATER": "x",
    }


def test_values_come_from_keys_fields_and_resources() -> None:
    objects = (config_map("c", k="v"), secret("s", t="secret"))
    pod = desired(
        pod_yaml(
            container="""
            resources: {limits: {cpu: 1500m}, requests: {memory: 1Gi}}
            env:
            - {name: CONFIG, valueFrom: {configMapKeyRef: {name: c, key: k}}}
            - {name: SECRET, valueFrom: {secretKeyRef: {name: s, key: t}}}
            - {name: NONE, valueFrom: {secretKeyRef: {name: absent, key: t, optional: true}}}
            - {name: NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
            - {name: LABEL, valueFrom: {fieldRef: {fieldPath: "metadata.labels['app']"}}}
            - {name: IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
            - {name: IPS, valueFrom: {fieldRef: {fieldPath: status.podIPs}}}
            - {name: HOST, valueFrom: {fieldRef: {fieldPath: status.hostIP}}}
            - {name: CPU, valueFrom: {resourceFieldRef: {resource: limits.cpu}}}
            - {name: MILLI, valueFrom: {resourceFieldRef: {resource: requests.cpu, divisor: 1m}}}
            - {name: MEM, valueFrom: {resourceFieldRef: {resource: requests.memory, divisor: 1Mi}}}
            - {name: ALL, valueFrom: {resourceFieldRef: {resource: limits.memory, divisor: 1Gi}}}
            """,
            metadata="name: web\nlabels: {app: shop}",
        ),
        *objects,
    )
    values = environment(pod, main(pod), FACTS, declared(*objects).data)
    assert values == {
        "CONFIG": "v",
        "SECRET": "secret",
        "NAME": "web",
        "LABEL": "shop",
        "IP": "10.88.0.5",
        "IPS": "10.88.0.5,fd00::5",
        "HOST": "192.0.2.7",
        "CPU": "2",
        "MILLI": "1500",
        "MEM": "1024",
        "ALL": "8",
    }


def test_an_absent_key_is_named_unless_it_is_optional() -> None:
    text = pod_yaml(container="env: [{name: A, valueFrom: {configMapKeyRef: {name: c, key: k}}}]")
    pod = desired(text, config_map("c", k="v"))
    with pytest.raises(NotFound, match="there is no ConfigMap default/c"):
        environment(pod, main(pod), FACTS, Data())
    with pytest.raises(NotFound, match="key 'k' in ConfigMap default/c"):
        environment(pod, main(pod), FACTS, declared(config_map("c", other="v")).data)
