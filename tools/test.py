"""`make test`: everything. First what is quick (`make check`), then every test that needs the machine."""

from __future__ import annotations

import os
import subprocess
import sys

from tools import builds, check, machine

#: Built before the tests, whose time limits are for testing; the first time takes some 20 minutes.
BUILT = (
    *("critest", "crictl", "etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl"),
    *("kubelet-1.36", "kubelet-1.35", "kubelet-1.34", "containerd", "ctr", "cosign"),
)


def main() -> int:
    made = machine.prepare()
    try:
        checked = check.main()
        for name in BUILT:
            builds.program(name)
        pytest = os.path.join(os.path.dirname(sys.executable), "pytest")
        tested = subprocess.run(
            [pytest, "-m", "host", "-n", "2", "--dist", "loadscope", "-q"], check=False
        ).returncode
    finally:
        if made:
            machine.undo()
    return checked or tested


if __name__ == "__main__":
    sys.exit(main())
