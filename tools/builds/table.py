"""What can be built: name -> module, version, package. A version is part of the cached file's name."""

from __future__ import annotations

from dataclasses import dataclass

KUBERNETES = {"1.36": "v1.36.1", "1.35": "v1.35.4", "1.34": "v1.34.4"}


@dataclass(frozen=True)
class Build:
    """`package` is relative to the module. `inside`: built in the module's own folder, with its own go.mod.

    `staging`: Kubernetes' own modules k8s.io/* are replaced by those of the same release.
    """

    module: str
    version: str
    package: str = ""
    inside: bool = False
    is_test: bool = False  # by `go test -c`
    staging: bool = False
    tags: str = ""
    cgo: bool = False

    @property
    def path(self) -> str:
        return f"{self.module}/{self.package}" if self.package else self.module


def _kubernetes(version: str, command: str) -> Build:
    return Build("k8s.io/kubernetes", version, f"cmd/{command}", staging=True)


_CRI_TOOLS = ("sigs.k8s.io/cri-tools", "v1.36.0")
_CONTAINERD = ("github.com/containerd/containerd/v2", "v2.4.2")
_CRIO_TAGS = "containers_image_openpgp exclude_graphdriver_btrfs seccomp"

PROGRAMS: dict[str, Build] = {
    "critest": Build(*_CRI_TOOLS, "cmd/critest", inside=True, is_test=True),
    "crictl": Build(*_CRI_TOOLS, "cmd/crictl", inside=True),
    "etcd": Build("go.etcd.io/etcd/server/v3", "v3.6.8"),
    "containerd": Build(*_CONTAINERD, "cmd/containerd"),
    "ctr": Build(*_CONTAINERD, "cmd/ctr"),
    "containerd-shim-runc-v2": Build(*_CONTAINERD, "cmd/containerd-shim-runc-v2"),
    "crio": Build("github.com/cri-o/cri-o", "v1.34.0", "cmd/crio", inside=True, tags=_CRIO_TAGS, cgo=True),
    "cosign": Build("github.com/sigstore/cosign/v2", "v2.6.5", "cmd/cosign"),
    "runc": Build("github.com/opencontainers/runc", "v1.5.2", inside=True, tags="seccomp", cgo=True),
    **{
        name: _kubernetes(KUBERNETES["1.36"], name)
        for name in ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl")
    },
    **{f"kubelet-{minor}": _kubernetes(version, "kubelet") for minor, version in KUBERNETES.items()},
}
