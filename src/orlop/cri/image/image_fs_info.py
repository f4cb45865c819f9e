"""ImageFsInfo: what images take, and what containers wrote."""

from __future__ import annotations

import time

from orlop.cri.proto import cri_pb2 as pb
from orlop.cri.service import Service
from orlop.kit import limits
from orlop.pod.stats import written


def image_fs_info(service: Service, request: pb.ImageFsInfoRequest) -> pb.ImageFsInfoResponse:
    """Both are on the file system of the node's root."""
    pods = service.pods
    return pb.ImageFsInfoResponse(
        image_filesystems=[_usage(pods.node.root, *pods.store.content())],
        container_filesystems=[_usage(pods.node.root, *written(pods, disk_age=limits.CRI_DISK_AGE))],
    )


def _usage(mountpoint: str, size: int, inodes: int) -> pb.FilesystemUsage:
    return pb.FilesystemUsage(
        timestamp=time.time_ns(),
        fs_id=pb.FilesystemIdentifier(mountpoint=mountpoint),
        used_bytes=pb.UInt64Value(value=size),
        inodes_used=pb.UInt64Value(value=inodes),
    )
