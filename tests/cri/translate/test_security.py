"""What a container's security context means for the runtime: the spellings of an AppArmor profile."""

from __future__ import annotations

from typing import Any

import pytest

from orlop.cri.proto import cri_pb2 as pb
from orlop.cri.translate.security import security
from orlop.pod.model import SandboxConfig

_LOCALHOST = pb.SecurityProfile.Localhost


@pytest.mark.parametrize(
    ("context", "wanted"),
    [
        ({"apparmor": pb.SecurityProfile(profile_type=_LOCALHOST, localhost_ref="mine")}, "mine"),
        ({"apparmor": pb.SecurityProfile(profile_type=_LOCALHOST, localhost_ref="localhost/mine")}, "mine"),
        ({"apparmor": pb.SecurityProfile(profile_type=pb.SecurityProfile.Unconfined)}, ""),
        ({"apparmor_profile": "localhost/mine"}, "mine"),
        ({"apparmor_profile": "runtime/default"}, ""),
        (
            {
                "apparmor": pb.SecurityProfile(profile_type=_LOCALHOST, localhost_ref="new"),
                "apparmor_profile": "localhost/old",
            },
            "new",
        ),
    ],
)
def test_an_apparmor_profile_is_found_under_either_spelling(context: dict[str, Any], wanted: str) -> None:
    asked = pb.LinuxContainerConfig(security_context=pb.LinuxContainerSecurityContext(**context))
    assert security(asked, SandboxConfig("pod", "u1"), "container").apparmor == wanted
