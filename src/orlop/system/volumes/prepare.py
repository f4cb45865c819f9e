"""Make a pod's volumes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from orlop.kit import locks
from orlop.kit.errors import NotFound, OrlopError, Unavailable
from orlop.kit.files import make_folder
from orlop.kit.node import Node
from orlop.system.kube.environment import environment
from orlop.system.kube.facts import Facts
from orlop.system.kube.model import Data, DesiredPod
from orlop.system.kube.resources import pod_resources
from orlop.system.kube.translate import sub_path
from orlop.system.kube.volume_model import ClaimVolume, EmptyDir, HostPath, Volume
from orlop.system.volumes import places
from orlop.system.volumes.atomic_folder import write_folder
from orlop.system.volumes.claims import ensure_claim
from orlop.system.volumes.host_path import ensure_host_path
from orlop.system.volumes.ownership import give_to_group
from orlop.system.volumes.payload import payload
from orlop.system.volumes.sub_path import make_sub_path
from orlop.system.volumes.tmpfs import mount_tmpfs

_SHARED = 0o777  # of an emptyDir and a claim: any user of any container writes there


@dataclass(frozen=True)
class _Work:
    node: Node
    desired: DesiredPod
    data: Data
    facts: Facts

    @property
    def group(self) -> int | None:
        return self.desired.pod.spec.security_context.fs_group


def prepare(node: Node, desired: DesiredPod, data: Data, facts: Facts) -> Mapping[str, str]:
    """Every volume of the pod exists and is filled afterwards; returns volume name -> host path.

    Call it when the sandbox runs (`facts.pod_ips`), and again whenever `volume_data` changed: that exchanges
    files in place, and applies nothing else anew.
    Raises NotFound (a ConfigMap, Secret, key, claim or host path is absent), InvalidInput (a host path of
    another type, two items with the same path), Unavailable (the machine refuses: no space, no right).
    """
    work = _Work(node, desired, data, facts)
    with locks.hold(places.lock(node, desired.uid)):
        make_folder(places.on_disk(node, desired.uid))
        paths = {volume.name: _made(work, volume) for volume in desired.pod.spec.volumes}
        _make_sub_paths(work, paths)
    return paths


def _made(work: _Work, volume: Volume) -> str:
    try:
        return _make(work, volume)
    except OSError as error:
        subject = f"pod {work.desired.key}: volume {volume.name}"
        raise Unavailable(subject, str(error), hint="see that the disk has room, then try again") from error


def _make(work: _Work, volume: Volume) -> str:
    match volume.source:
        case EmptyDir() as source:
            return _empty_dir(work, volume.name, source)
        case HostPath() as source:
            return ensure_host_path(f"pod {work.desired.key}: volume {volume.name}", source)
        case ClaimVolume() as source:
            return _claim(work, volume.name, source)
        case source:
            memory = places.in_memory(work.node, work.desired.uid)
            mount_tmpfs(memory)
            path = make_folder(os.path.join(memory, volume.name), 0o755)
            files = payload(work.desired, source, work.data, work.facts)
            write_folder(path, files, group=work.group)
            return path


def _empty_dir(work: _Work, name: str, source: EmptyDir) -> str:
    uid = work.desired.uid
    if source.medium == "Memory":
        path = os.path.join(places.in_memory(work.node, uid), name)
        mount_tmpfs(places.in_memory(work.node, uid))
        if not mount_tmpfs(path, size=_memory_size(work, source)):
            return path
    else:
        path = os.path.join(places.on_disk(work.node, uid), name)
        if os.path.isdir(path):
            return path
    make_folder(path)
    if work.group is not None:
        os.chown(path, -1, work.group)
    os.chmod(path, _SHARED if work.group is None else 0o2000 | _SHARED)
    return path


def _memory_size(work: _Work, source: EmptyDir) -> int:
    """The smaller of sizeLimit and what the pod may use at all; 0: half of the machine's."""
    given = source.size_limit.units if source.size_limit is not None else 0
    whole = pod_resources(work.desired.pod).memory_limit
    return min((size for size in (given, whole) if size), default=0)


def _claim(work: _Work, name: str, source: ClaimVolume) -> str:
    namespace = work.desired.namespace
    claim = work.data.claim(namespace, source.claim_name)
    if claim is None:
        raise NotFound(
            f"pod {work.desired.key}: volume {name}",
            f"there is no PersistentVolumeClaim {namespace}/{source.claim_name}",
            hint="declare it in a file that is played",
        )
    path = ensure_claim(work.node, claim)
    mark = places.owned(work.node, work.desired.uid, name)
    if work.group is not None and not source.read_only and not os.path.exists(mark):
        policy = work.desired.pod.spec.security_context.fs_group_change_policy
        give_to_group(path, work.group, only_on_mismatch=policy == "OnRootMismatch")
        make_folder(os.path.dirname(mark))
        os.close(os.open(mark, os.O_CREAT | os.O_CLOEXEC, 0o600))
    return path


def _make_sub_paths(work: _Work, paths: Mapping[str, str]) -> None:
    """Folders that `subPath` names and that nobody made yet, in volumes that can be written."""
    writable = {
        volume.name
        for volume in work.desired.pod.spec.volumes
        if isinstance(volume.source, EmptyDir | HostPath | ClaimVolume)
    }
    for container in work.desired.pod.every_container:
        wanted = [each for each in container.volume_mounts if each.sub_path or each.sub_path_expr]
        values = environment(work.desired, container, work.facts, work.data) if wanted else {}
        for mount in wanted:
            if mount.name in writable:
                subject = f"pod {work.desired.key}: volume {mount.name}"
                below = sub_path(work.desired, mount, values)
                try:
                    make_sub_path(paths[mount.name], below, group=work.group)
                except OrlopError as error:
                    raise type(error)(subject, error.cause, hint=error.hint) from error
                except OSError as error:
                    raise Unavailable(subject, str(error), hint="see what is at that path") from error
