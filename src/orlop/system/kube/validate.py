"""The rules of the API server's validation (kubernetes, pkg/apis/core/validation) for what is honoured."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping

from orlop.kit import limits
from orlop.system.kube import names
from orlop.system.kube.findings import Findings
from orlop.system.kube.model import Deployment, Pod
from orlop.system.kube.problem import Path
from orlop.system.kube.validate_pod import check_pod_spec
from orlop.system.kube.volume_model import ApiObject, ConfigMap, Metadata, PersistentVolumeClaim, Secret

_ANNOTATIONS = 256 * limits.KIB
_DATA = 1 * limits.MIB
#: The keys that a Secret of a type must have.
_SECRET_KEYS = {
    "kubernetes.io/dockerconfigjson": (".dockerconfigjson",),
    "kubernetes.io/dockercfg": (".dockercfg",),
    "kubernetes.io/tls": ("tls.crt", "tls.key"),
    "kubernetes.io/ssh-auth": ("ssh-privatekey",),
}


def check(value: ApiObject) -> Findings:
    """All that is wrong with one object by itself, and what of it has no effect."""
    found = Findings()
    _check_metadata(found, ("metadata",), value.metadata)
    if isinstance(value, Pod):
        check_pod_spec(found, ("spec",), value.spec)
    elif isinstance(value, Deployment):
        _check_deployment(found, value)
    elif isinstance(value, ConfigMap):
        _check_config_map(found, value)
    elif isinstance(value, Secret):
        _check_secret(found, value)
    elif isinstance(value, PersistentVolumeClaim):
        _check_claim(found, value)
    return found


def _check_metadata(found: Findings, path: Path, metadata: Metadata, *, named: bool = True) -> None:
    if named:
        found.error((*path, "name"), names.subdomain(metadata.name) if metadata.name else "is required")
        found.error((*path, "namespace"), names.label(metadata.namespace))
    for key, value in metadata.labels.items():
        found.error((*path, "labels", key), names.qualified(key) or names.label_value(value))
    for key in metadata.annotations:
        found.error((*path, "annotations", key), names.qualified(key))
    if sum(len(key) + len(value) for key, value in metadata.annotations.items()) > _ANNOTATIONS:
        found.error((*path, "annotations"), f"is more than {_ANNOTATIONS} bytes")


def _check_deployment(found: Findings, deployment: Deployment) -> None:
    spec, path = deployment.spec, ("spec",)
    template = (*path, "template")
    found.between((*path, "replicas"), spec.replicas, 0, limits.REPLICAS)
    selector = spec.selector
    if not selector.match_labels and not selector.match_expressions:
        found.error((*path, "selector"), "is empty: it must select the template's pods")
    elif not selector.matches(spec.template.metadata.labels):
        found.error((*template, "metadata", "labels"), "are not those that spec.selector wants")
    for number, each in enumerate(selector.match_expressions):
        here = (*path, "selector", "matchExpressions", number)
        if bool(each.values) != (each.operator in ("In", "NotIn")):
            found.error(
                (*here, "values"), f"must {'not ' if each.values else ''}be given with {each.operator}"
            )
    _check_metadata(found, (*template, "metadata"), spec.template.metadata, named=False)
    inner = spec.template.spec
    if inner.restart_policy != "Always":
        found.error((*template, "spec", "restartPolicy"), "is Always in a Deployment")
    if inner.active_deadline_seconds is not None:
        found.error((*template, "spec", "activeDeadlineSeconds"), "does not belong in a Deployment")
    check_pod_spec(found, (*template, "spec"), inner)


def _check_config_map(found: Findings, config_map: ConfigMap) -> None:
    for key in config_map.data:
        found.error(("data", key), names.data_key(key))
    for key in config_map.binary_data.keys() & config_map.data.keys():
        found.error(("binaryData", key), "stands in data too")
    _check_base64(found, "binaryData", config_map.binary_data)
    _check_size(found, config_map.data, config_map.binary_data)


def _check_secret(found: Findings, secret: Secret) -> None:
    for key in secret.string_data:
        found.error(("stringData", key), names.data_key(key))
    _check_base64(found, "data", secret.data)
    _check_size(found, secret.string_data, secret.data)
    if found.problems:
        return
    entries = secret.entries
    for key in _SECRET_KEYS.get(secret.type, ()):
        if key not in entries:
            found.error(("data", key), f"is required in a Secret of type {secret.type}")
        elif secret.type.startswith("kubernetes.io/docker") and not _is_json_object(entries[key]):
            found.error(("data", key), "is not a JSON object")


def _check_base64(found: Findings, field: str, entries: Mapping[str, str]) -> None:
    for key, text in entries.items():
        found.error((field, key), names.data_key(key))
        try:
            base64.b64decode(text.replace("\n", "").replace("\r", ""), validate=True)
        except (binascii.Error, ValueError):
            found.error((field, key), "is not base64 (stringData and data of a ConfigMap take plain text)")


def _check_size(found: Findings, *parts: Mapping[str, str]) -> None:
    if sum(len(text) for part in parts for text in part.values()) > 2 * _DATA:
        found.error(("data",), f"is more than {_DATA} bytes")


def _is_json_object(data: bytes) -> bool:
    try:
        return isinstance(json.loads(data), dict)
    except (ValueError, RecursionError):
        return False


def _check_claim(found: Findings, claim: PersistentVolumeClaim) -> None:
    spec = claim.spec
    if not spec.access_modes:
        found.error(("spec", "accessModes"), "is required")
    storage = spec.resources.requests.get("storage")
    path = ("spec", "resources", "requests", "storage")
    if storage is None:
        found.error(path, "is required")
    elif storage.amount <= 0:
        found.error(path, "must be more than 0")
    else:
        found.warn(path, "is recorded, not enforced: a local volume grows as long as its disk has room")
