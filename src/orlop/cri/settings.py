"""Section [cri] of the configuration."""

from __future__ import annotations

from orlop.kit import limits
from orlop.kit.errors import InvalidInput
from orlop.kit.value import dataclass


@dataclass(frozen=True)
class CriSettings:
    """Section [cri] of the configuration.

    `listen` is `unix:///ABSOLUTE/PATH`; "" is `orlop.sock` in the node's state folder. Whoever may connect to
    the socket is root on this machine: `socket_mode` is octal, `socket_group` a name or a number.
    `pinned_images` are names, IDs, or patterns with `*`, of images that are never removed.
    `create_mount_sources`: a folder of the machine that is to be mounted and is not there is made, as it is
    with containerd and CRI-O for volumes of no type; otherwise it is refused, as the CRI has it.

    Raises InvalidInput.
    """

    listen: str = ""
    socket_mode: str = "0660"
    socket_group: str = "root"
    parallel_pulls: int = limits.CRI_PULLS
    pinned_images: tuple[str, ...] = ()
    create_mount_sources: bool = True

    def __post_init__(self) -> None:
        if self.parallel_pulls < 1:
            raise InvalidInput("[cri] parallel_pulls", f"is {self.parallel_pulls}", hint="give it 1 or more")
