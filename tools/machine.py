"""What a machine needs beyond packages: crun refuses a hybrid cgroup tree unless hugetlb is mounted.

cgroup v1 in hybrid form (v1 controllers beside an almost empty v2 tree) is what some VMs and old
distributions have. crun 1.8 then wants `hugetlb` as a v1 mount too. Pure v2 machines need nothing.
"""

from __future__ import annotations

import os
from pathlib import Path

from orlop.kit import kernel
from orlop.kit.node import DEFAULT_STATE

_CGROUPS = "/sys/fs/cgroup"
_HUGETLB = f"{_CGROUPS}/hugetlb"
#: Says that the mount is ours, so that `make down` undoes what `make up` did and nothing else.
_MARK = Path(f"{DEFAULT_STATE}.hugetlb")


def prepare() -> bool:
    """Mount the hugetlb controller where crun needs it; returns whether something was done."""
    if not os.path.isdir(f"{_CGROUPS}/memory") or os.path.ismount(_HUGETLB):
        return False
    if "hugetlb" not in Path("/proc/cgroups").read_text(encoding="ascii"):
        return False
    os.makedirs(_HUGETLB, exist_ok=True)
    kernel.mount(
        "hugetlb", _HUGETLB, "cgroup", kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC, "hugetlb"
    )
    _MARK.write_text("mounted by Orlop's `make`\n", encoding="ascii")
    return True


def undo() -> None:
    """Take the mount away again if `prepare` made it and nobody uses it."""
    if not _MARK.exists():
        return
    if os.path.ismount(_HUGETLB) and not any(entry.is_dir() for entry in os.scandir(_HUGETLB)):
        kernel.umount(_HUGETLB)
        os.rmdir(_HUGETLB)
    _MARK.unlink()
