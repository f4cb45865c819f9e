"""critest in the guest: what depends on systemd, on cgroup v2 and on Debian's kernel, which has AppArmor.

The whole runs on the machine of the tests (tests/conformance); here are all specs of AppArmor, which that
machine's kernel has not, and one or two of each kind.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.conformance import critest
from tests.conformance.critest import PASSED, SKIPPED, Spec
from tests.vm import result
from tests.vm.guest import Guest

pytestmark = [pytest.mark.vm, pytest.mark.timeout(3600)]

_FOCUS = (
    "AppArmor",
    "Container OOM",
    "Streaming",
    "UserNamespaces",
    "basic operations on PodSandbox",
    "execSync",
    "listing stats for started containers",
    "should support log",
    "mount propagation mount with 'rshared'",
    "support recursive readonly mounts",
    "support set hostname",
    "with host port and container port",
    "support safe sysctls",
    "NamespaceOption runtime should support PodPID",
    "SupplementalGroupsPolicy=Strict",
    "seccomp default on the container",
)
_SKIP = ("benchmark",)
#: Debian 12's Linux 6.1 has no idmapped tmpfs (6.3 has), so no handler claims user namespaces there.
_KERNEL_LACKS = "no runtime handler found which supports user namespaces"


@pytest.fixture(scope="module")
def specs(served: Guest) -> list[Spec]:
    report = "/root/critest.json"
    argv = ("/payload/critest", *critest.flags("/run/orlop/orlop.sock", Path(report), _FOCUS, _SKIP))
    served.run(*argv, timeout=400, check=False)
    found = critest.read(json.loads(served.run("cat", report).stdout))
    tried = [spec for spec in found if spec.state != SKIPPED or spec.why]
    result.learn_specs(tried)
    return tried


def test_the_kubelet_is_told_that_systemd_manages_cgroups(served: Guest) -> None:
    told = served.run("/opt/orlop/bin/python", "/root/client.py", "RuntimeConfig").stdout
    assert json.loads(told) == {"linux": {}}  # SYSTEMD is the enumeration's first value


def test_every_spec_that_was_chosen_passes(specs: list[Spec]) -> None:
    failed = {
        f"{spec.group}: {spec.name}": spec.why
        for spec in specs
        if spec.state != PASSED and _KERNEL_LACKS not in spec.why
    }
    assert not failed


def test_apparmor_is_there_and_none_of_its_specs_was_skipped(specs: list[Spec]) -> None:
    assert sum(spec.wants_apparmor for spec in specs) == 9
    assert not [spec.name for spec in specs if spec.wants_apparmor and spec.state == SKIPPED]
