"""What is to run: pods of a declaration, a Deployment's replicas among them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass

from msgspec.structs import replace

from orlop.system.kube.environment import texts
from orlop.system.kube.model import Container, Data, Declaration, DesiredPod, Pod, to_json
from orlop.system.kube.problem import InvalidDeclaration
from orlop.system.kube.volume_model import (
    ClaimVolume,
    ConfigMapVolume,
    KeyToPath,
    ProjectedVolume,
    SecretVolume,
    Volume,
)


@dataclass(frozen=True)
class Reference:
    """What a pod draws from: an object, and keys that it must have (without: whatever it has)."""

    kind: str  # ConfigMap | Secret | PersistentVolumeClaim
    name: str
    keys: tuple[str, ...] = ()
    optional: bool = False
    in_place: bool = False  # a volume's: a change of it needs no new pod


def pods_of(
    declaration: Declaration, data: Data, *, source: str = "the declaration"
) -> tuple[DesiredPod, ...]:
    """The desired pods, in the file's order; a Deployment `web` with 3 replicas gives `web-0` to `web-2`.

    `data` is what they draw from: the declaration's own objects merged over those played before. Names, uids
    and hashes depend on nothing else, so that the same file gives the same value.
    Raises InvalidDeclaration where a pod needs a ConfigMap, Secret, key or claim that is not declared and not
    optional, or where two pods have the same name or want the same host port.
    """
    pods = tuple(_pods(declaration, data))
    problems = [*_same_names(pods), *_same_ports(pods)]
    for desired in pods:
        problems += _absent(desired, data)
    if problems:
        raise InvalidDeclaration(source, problems)
    return pods


def rehashed(desired: DesiredPod, data: Data) -> DesiredPod:
    """The same pod against other data: `content` and `volume_data` say whether that makes a difference."""
    return _desired(desired.pod, desired.owner, data)


def references(pod: Pod) -> Iterator[Reference]:
    """All objects that the pod draws from, imagePullSecrets excepted."""
    for container in pod.every_container:
        yield from _of_environment(container)
    fixed = {
        mount.name
        for container in pod.every_container
        for mount in container.volume_mounts
        if mount.sub_path or mount.sub_path_expr  # such a mount keeps the file that it found
    }
    for volume in pod.spec.volumes:
        for reference in _of_volume(volume):
            yield Reference(
                reference.kind,
                reference.name,
                reference.keys,
                reference.optional,
                in_place=volume.name not in fixed,
            )


def _pods(declaration: Declaration, data: Data) -> Iterator[DesiredPod]:
    for pod in declaration.pods:
        yield _desired(pod, f"Pod/{pod.metadata.namespace}/{pod.metadata.name}", data)
    for deployment in declaration.deployments:
        metadata, template = deployment.metadata, deployment.spec.template
        for ordinal in range(deployment.spec.replicas):
            own = replace(template.metadata, name=f"{metadata.name}-{ordinal}", namespace=metadata.namespace)
            owner = f"Deployment/{metadata.namespace}/{metadata.name}"
            yield _desired(Pod(metadata=own, spec=template.spec), owner, data)


def _desired(pod: Pod, owner: str, data: Data) -> DesiredPod:
    identity = _hash([owner, pod.metadata.namespace, pod.metadata.name])
    parts = [identity[:8], identity[8:12], identity[12:16], identity[16:20], identity[20:32]]
    namespace, every = pod.metadata.namespace, list(references(pod))
    fixed = [_drawn(each, namespace, data) for each in every if not each.in_place]
    loose = [_drawn(each, namespace, data) for each in every if each.in_place]
    return DesiredPod(
        uid="-".join(parts),
        owner=owner,
        pod=pod,
        content=_hash([to_json(pod).decode(), fixed]),
        volume_data=_hash([loose]),
    )


def _hash(value: list[object]) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _drawn(reference: Reference, namespace: str, data: Data) -> list[object]:
    """What the object holds for the pod; a ConfigMap's binaryData counts for volumes."""
    if reference.kind == "PersistentVolumeClaim":
        return [reference.kind, reference.name]
    held = dict(texts(data, reference.kind, namespace, reference.name) or {})
    config_map = data.config_map(namespace, reference.name) if reference.kind == "ConfigMap" else None
    if config_map is not None:
        held |= config_map.binary_data
    if reference.keys:
        held = {key: held[key] for key in reference.keys if key in held}
    return [reference.kind, reference.name, held]


def _of_environment(container: Container) -> Iterator[Reference]:
    for source in container.env_from:
        for kind, ref in (("ConfigMap", source.config_map_ref), ("Secret", source.secret_ref)):
            if ref is not None:
                yield Reference(kind, ref.name, optional=ref.optional)
    for variable in container.env:
        value = variable.value_from
        if value is None:
            continue
        for kind, key in (("ConfigMap", value.config_map_key_ref), ("Secret", value.secret_key_ref)):
            if key is not None:
                yield Reference(kind, key.name, (key.key,), key.optional)


def _of_volume(volume: Volume) -> Iterator[Reference]:
    match volume.source:
        case ConfigMapVolume() as source:
            yield Reference("ConfigMap", source.name, _keys(source.items), source.optional)
        case SecretVolume() as source:
            yield Reference("Secret", source.secret_name, _keys(source.items), source.optional)
        case ClaimVolume() as source:
            yield Reference("PersistentVolumeClaim", source.claim_name)
        case ProjectedVolume() as source:
            for each in source.sources:
                for kind, keys in (("ConfigMap", each.config_map), ("Secret", each.secret)):
                    if keys is not None:
                        yield Reference(kind, keys.name, _keys(keys.items), keys.optional)


def _keys(items: tuple[KeyToPath, ...]) -> tuple[str, ...]:
    return tuple(item.key for item in items)


def _absent(desired: DesiredPod, data: Data) -> Iterator[str]:
    for each in references(desired.pod):
        if each.optional:
            continue
        name = f"{each.kind} {desired.namespace}/{each.name}"
        held: set[str] | None
        if each.kind == "ConfigMap":
            config_map = data.config_map(desired.namespace, each.name)
            held = None if config_map is None else {*config_map.data, *config_map.binary_data}
        elif each.kind == "Secret":
            secret = data.secret(desired.namespace, each.name)
            held = None if secret is None else {*secret.data, *secret.string_data}
        else:
            held = None if data.claim(desired.namespace, each.name) is None else set()
        if held is None:
            yield f"pod {desired.key}: there is no {name}; declare it, or make it optional"
            continue
        for key in each.keys:
            if key not in held:
                yield f"pod {desired.key}: there is no key {key!r} in {name}"


def _same_names(pods: tuple[DesiredPod, ...]) -> Iterator[str]:
    owners: dict[str, str] = {}
    for desired in pods:
        if owners.setdefault(desired.key, desired.owner) != desired.owner:
            yield f"pod {desired.key}: {owners[desired.key]} and {desired.owner} both make it"


def _same_ports(pods: tuple[DesiredPod, ...]) -> Iterator[str]:
    takers: dict[tuple[str, int], list[tuple[str, str]]] = {}
    for desired in pods:
        for container in desired.pod.every_container:
            for port in container.ports:
                number = port.host_port or (port.container_port if desired.pod.spec.host_network else 0)
                others = takers.setdefault((port.protocol, number), [])
                clash = [key for ip, key in others if key != desired.key and _overlap(ip, port.host_ip)]
                if number and clash:
                    yield f"pod {desired.key}: host port {number}/{port.protocol} is taken by pod {clash[0]}"
                others.append((port.host_ip, desired.key))


def _overlap(one: str, other: str) -> bool:
    return one == other or any(address in ("", "0.0.0.0", "::") for address in (one, other))  # noqa: S104
