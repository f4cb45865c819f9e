"""The built-in validator: what plugins may not want of a container, by the configuration."""

from __future__ import annotations

from collections.abc import Sequence

from orlop.cri.nri.errors import PluginRefused
from orlop.cri.nri.owners import Owners
from orlop.cri.nri.proto import nri_pb2 as pb
from orlop.cri.nri.settings import NriSettings

_REQUIRED = "required-plugins.noderesource.dev"
_TRUE, _FALSE = ("1", "t", "T", "true", "TRUE", "True"), ("0", "f", "F", "false", "FALSE", "False")


def validate(
    settings: NriSettings,
    pod: pb.PodSandbox,
    container: pb.Container,
    adjust: pb.ContainerAdjustment,
    owners: Owners,
    plugins: Sequence[tuple[str, str]],
) -> None:
    """Raises PluginRefused. `container` is as it was asked for; `plugins` are (index, name)."""
    for what, field, forbidden in (
        ("OCI hooks", pb.OciHooks, settings.reject_hooks),
        ("namespaces", pb.Namespace, settings.reject_namespaces),
        (_seccomp(container), pb.SeccompPolicy, _seccomp_is_forbidden(settings, container)),
    ):
        found = owners.of(container.id, field)
        if forbidden and found:
            raise _refused(container, f"{' and '.join(found.values())} may not change {what}")
    changed = owners.of(container.id, pb.Sysctl)
    if settings.reject_sysctls and any(name in adjust.linux.sysctl for name in changed):
        raise _refused(container, f"{' and '.join(sorted(set(changed.values())))} may not change sysctls")
    _check_required(settings, pod, container, plugins)


def _seccomp(container: pb.Container) -> str:
    kind = container.linux.seccomp_profile.profile_type
    return {
        pb.SecurityProfile.RUNTIME_DEFAULT: "the default seccomp profile",
        pb.SecurityProfile.UNCONFINED: "an unconfined container's seccomp profile",
    }.get(kind, "a custom seccomp profile")


def _seccomp_is_forbidden(settings: NriSettings, container: pb.Container) -> bool:
    kind = container.linux.seccomp_profile.profile_type
    if not container.linux.HasField("seccomp_profile") or kind == pb.SecurityProfile.UNCONFINED:
        return settings.reject_seccomp_unconfined
    if kind == pb.SecurityProfile.RUNTIME_DEFAULT:
        return settings.reject_seccomp_default
    return settings.reject_seccomp_custom


def _check_required(
    settings: NriSettings, pod: pb.PodSandbox, container: pb.Container, plugins: Sequence[tuple[str, str]]
) -> None:
    if settings.tolerate_missing_annotation:
        said = _annotation(pod, settings.tolerate_missing_annotation, container.name)
        if said in _TRUE:
            return
        if said not in (None, *_FALSE):
            raise _refused(
                container, f"{settings.tolerate_missing_annotation}: {said!r} is not true or false"
            )
    required = [*settings.required_plugins, *_annotated(pod, container)]
    there = {base for _, base in plugins} | {f"{index}-{base}" for index, base in plugins}
    missing = [name for name in required if name not in there]
    if missing:
        raise _refused(container, f"it requires NRI plugins that are not there: {', '.join(missing)}")


def _annotated(pod: pb.PodSandbox, container: pb.Container) -> list[str]:
    said = _annotation(pod, _REQUIRED, container.name)
    if said is None:
        return []
    import yaml

    try:
        names = yaml.safe_load(said)
    except yaml.YAMLError as error:
        raise _refused(container, f"{_REQUIRED} is no YAML") from error
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise _refused(container, f"{_REQUIRED} is no list of names")
    return names


def _annotation(pod: pb.PodSandbox, key: str, container: str) -> str | None:
    """Of the container, else of the pod."""
    for name in (f"{key}/container.{container}", f"{key}/pod", key):
        if name in pod.annotations:
            return pod.annotations[name]
    return None


def _refused(container: pb.Container, cause: str) -> PluginRefused:
    return PluginRefused(
        f"container {container.name}",
        f"NRI validation: {cause}",
        hint="see the section [nri] of the configuration",
    )
