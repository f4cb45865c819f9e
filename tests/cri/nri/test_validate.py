"""The built-in validator of NRI forbids and requires what its configuration says."""

from __future__ import annotations

from typing import Any

import pytest

from orlop.cri.nri.collect import Adjustments
from orlop.cri.nri.errors import PluginRefused
from orlop.cri.nri.proto import nri_pb2 as pb
from orlop.cri.nri.settings import NriSettings
from orlop.cri.nri.validate import validate

_LINUX = pb.LinuxContainerAdjustment
_KINDS = pb.SecurityProfile


def _check(
    settings: NriSettings,
    adjust: pb.ContainerAdjustment | None = None,
    *,
    profile: int = _KINDS.RUNTIME_DEFAULT,
    annotations: dict[str, str] | None = None,
    plugins: tuple[tuple[str, str], ...] = (("10", "one"),),
) -> None:
    container = pb.Container(id="c", name="main")
    container.linux.seccomp_profile.CopyFrom(_KINDS(profile_type=profile))  # type: ignore[arg-type]
    container.linux.seccomp_profile.SetInParent()
    made = Adjustments(container)
    made.add(adjust or pb.ContainerAdjustment(), "10-one")
    pod = pb.PodSandbox(annotations=annotations or {})
    validate(settings, pod, container, made.adjust, made.owners, plugins)


def _settings(*keys: str) -> NriSettings:
    values: dict[str, Any] = dict.fromkeys(keys, True)
    return NriSettings(**values)


_POLICY = pb.ContainerAdjustment(
    linux=_LINUX(seccomp_policy=pb.LinuxSeccomp(default_action="SCMP_ACT_ALLOW"))
)
_CASES = {
    "reject_hooks": pb.ContainerAdjustment(hooks=pb.Hooks(prestart=[pb.Hook(path="/h")])),
    "reject_namespaces": pb.ContainerAdjustment(linux=_LINUX(namespaces=[pb.LinuxNamespace(type="-pid")])),
    "reject_sysctls": pb.ContainerAdjustment(linux=_LINUX(sysctl={"net.a": "1"})),
    "reject_seccomp_default": _POLICY,
}


@pytest.mark.parametrize("key", _CASES)
def test_what_is_forbidden_is_refused_and_named(key: str) -> None:
    _check(NriSettings(), _CASES[key])
    _check(_settings(key))
    with pytest.raises(PluginRefused, match="10-one may not change"):
        _check(_settings(key), _CASES[key])


@pytest.mark.parametrize(
    ("profile", "key"),
    [
        (_KINDS.RUNTIME_DEFAULT, "reject_seccomp_default"),
        (_KINDS.UNCONFINED, "reject_seccomp_unconfined"),
        (_KINDS.LOCALHOST, "reject_seccomp_custom"),
    ],
)
def test_each_kind_of_seccomp_profile_has_a_key_of_its_own(profile: int, key: str) -> None:
    keys = {"reject_seccomp_default", "reject_seccomp_unconfined", "reject_seccomp_custom"}
    _check(_settings(*(keys - {key})), _POLICY, profile=profile)
    with pytest.raises(PluginRefused, match="seccomp"):
        _check(_settings(key), _POLICY, profile=profile)


def test_required_plugins_are_those_of_the_configuration_and_of_the_pod() -> None:
    _check(
        NriSettings(required_plugins=("one",)), annotations={"required-plugins.noderesource.dev": "[10-one]"}
    )
    with pytest.raises(PluginRefused, match="two, three"):
        _check(
            NriSettings(required_plugins=("one", "two")),
            annotations={"required-plugins.noderesource.dev/pod": "[three]"},
        )


def test_an_annotation_of_the_container_outranks_the_pods() -> None:
    key = "required-plugins.noderesource.dev"
    _check(NriSettings(), annotations={key: "[absent]", f"{key}/container.main": "[one]"})
    with pytest.raises(PluginRefused, match="absent"):
        _check(NriSettings(), annotations={key: "[one]", f"{key}/container.main": "[absent]"})


def test_a_pod_that_tolerates_missing_plugins_needs_none() -> None:
    settings = NriSettings(required_plugins=("absent",), tolerate_missing_annotation="tolerate")
    _check(settings, annotations={"tolerate": "true"})
    for value in ("false", "perhaps"):
        with pytest.raises(PluginRefused):
            _check(settings, annotations={"tolerate": value})


@pytest.mark.parametrize("text", ["{", "name", "[1]"])
def test_an_annotation_that_is_no_list_of_names_is_refused(text: str) -> None:
    with pytest.raises(PluginRefused, match="required-plugins"):
        _check(NriSettings(), annotations={"required-plugins.noderesource.dev": text})
