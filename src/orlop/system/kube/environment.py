"""A container's environment, and `$(VAR)` in commands, arguments and values.

Follows: kubernetes, third_party/forked/golang/expansion; pkg/kubelet/kubelet_pods.go,
"makeEnvironmentVariables".
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from orlop.kit.errors import NotFound
from orlop.system.kube import downward, names
from orlop.system.kube.facts import Facts
from orlop.system.kube.model import Container, Data, DesiredPod, EnvFrom, EnvSource, KeyRef

_REFERENCE = re.compile(r"\$\$|\$\(([^)]*)\)")


def expand(text: str, values: Mapping[str, str]) -> str:
    """`$(NAME)` becomes its value, `$$` a `$`; a reference to what is not there stays as it is."""

    def replaced(found: re.Match[str]) -> str:
        return "$" if found[1] is None else values.get(found[1], found[0])

    return _REFERENCE.sub(replaced, text)


def references(text: str) -> list[str]:
    """The names that `expand` looks up."""
    return [found[1] for found in _REFERENCE.finditer(text) if found[1] is not None]


def environment(desired: DesiredPod, container: Container, facts: Facts, data: Data) -> dict[str, str]:
    """The variables: those of envFrom in order, then those of env, each of which sees the ones before it.

    Raises NotFound where a ConfigMap, Secret or key that is not optional is not there.
    """
    values: dict[str, str] = {}
    for source in container.env_from:
        values.update(_all_of(desired, source, data))
    for variable in container.env:
        if variable.value_from is None:
            values[variable.name] = expand(variable.value, values)
            continue
        value = _value(desired, container, variable.value_from, facts, data)
        if value is not None:
            values[variable.name] = value
    return values


def _all_of(desired: DesiredPod, source: EnvFrom, data: Data) -> dict[str, str]:
    ref = source.config_map_ref or source.secret_ref
    assert ref is not None
    kind = "ConfigMap" if source.config_map_ref else "Secret"
    entries = texts(data, kind, desired.namespace, ref.name)
    if entries is None:
        if ref.optional:
            return {}
        raise absent(desired, kind, ref.name)
    return {
        source.prefix + key: text
        for key, text in entries.items()
        if not names.environment(source.prefix + key)
    }


def _value(
    desired: DesiredPod, container: Container, source: EnvSource, facts: Facts, data: Data
) -> str | None:
    if source.field_ref is not None:
        return downward.field(desired, facts, source.field_ref.field_path)
    if source.resource_field_ref is not None:
        return downward.resource(desired, container, source.resource_field_ref, facts)
    if source.config_map_key_ref is not None:
        return _key(desired, "ConfigMap", source.config_map_key_ref, data)
    assert source.secret_key_ref is not None
    return _key(desired, "Secret", source.secret_key_ref, data)


def _key(desired: DesiredPod, kind: str, ref: KeyRef, data: Data) -> str | None:
    entries = texts(data, kind, desired.namespace, ref.name)
    if entries is not None and ref.key in entries:
        return entries[ref.key]
    if ref.optional:
        return None
    raise absent(desired, kind, ref.name, key="" if entries is None else ref.key)


def texts(data: Data, kind: str, namespace: str, name: str) -> Mapping[str, str] | None:
    """What variables are taken from: a ConfigMap's `data`, all of a Secret; None: no such object."""
    if kind == "ConfigMap":
        config_map = data.config_map(namespace, name)
        return None if config_map is None else config_map.data
    secret = data.secret(namespace, name)
    if secret is None:
        return None
    return {key: value.decode(errors="surrogateescape") for key, value in secret.entries.items()}


def absent(desired: DesiredPod, kind: str, name: str, *, key: str = "") -> NotFound:
    """The error for an object, or a key of one, that a pod needs."""
    what = (
        f"key {key!r} in {kind} {desired.namespace}/{name}" if key else f"{kind} {desired.namespace}/{name}"
    )
    return NotFound(
        f"pod {desired.key}",
        f"there is no {what}",
        hint="declare it in a file that is played, or make it optional",
    )
