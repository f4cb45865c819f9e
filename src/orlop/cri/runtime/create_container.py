"""Make a container in a pod, ready to start."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable

from orlop.cri.image import lookup
from orlop.cri.image.pull_image import refused
from orlop.cri.proto import cri_pb2 as pb
from orlop.cri.service import Service
from orlop.cri.translate.container import container_config
from orlop.cri.translate.fields import required
from orlop.cri.translate.image import names
from orlop.image.policy.errors import PolicyRefused
from orlop.kit.errors import InvalidInput, NotFound
from orlop.pod.create_container import create_container as create
from orlop.runtime.model import Mount


def create_container(service: Service, request: pb.CreateContainerRequest) -> pb.CreateContainerResponse:
    """The container is created afterwards; the same request again gives the same container.

    Raises InvalidInput, NotFound (the pod, the image, a mount's source), Conflict (the pod is not ready),
    SignatureValidationFailed (the policy refuses the image).
    """
    if not request.HasField("config") or not request.config.HasField("metadata"):
        raise InvalidInput("CreateContainer", "lacks config or its metadata", hint="send both")
    sandbox = service.sandbox(required(request, "pod_sandbox_id"))
    image = _image(service, request.config.image.image)
    config = container_config(
        request.config, sandbox.config, **image, sources_exist=not service.settings.create_mount_sources
    )
    _make_sources(config.mounts)
    try:
        made = create(service.pods, sandbox.id, config, program_later=True)
    except PolicyRefused as error:
        raise refused(error) from error
    service.events.publish(made.id, "created")
    return pb.CreateContainerResponse(container_id=made.id)


def _make_sources(mounts: Iterable[Mount]) -> None:
    """Make the folders of the machine that are to be mounted and are not there. Raises InvalidInput."""
    for mount in mounts:
        if mount.image or os.path.exists(mount.source):
            continue
        try:
            os.makedirs(mount.source, exist_ok=True)
        except (OSError, ValueError) as error:  # a link to nothing, a path through a file, a NUL byte
            raise InvalidInput(
                f"mount {mount.destination}",
                f"{mount.source[:80]!r} is not there and cannot be made: {error}",
                hint="make it first",
            ) from error


def _image(service: Service, name: str) -> dict[str, str]:
    """What the ImageService finds for a name; nothing where `pod` is to say what is missing."""
    store = service.pods.store
    with contextlib.suppress(NotFound):
        image = store.image(name) if name.startswith("sha256:") else lookup.find(store, name)
        if image is not None:
            digests = names(image)[1]
            return {"image_id": image.id, "image_ref": digests[0] if digests else ""}
    return {}
