"""Images of played pods: by pull policy, with the pods' own credentials (imagePullSecrets)."""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import os

from orlop.image import auth
from orlop.image.auth import Credentials
from orlop.image.pull import ImageSettings, Pulled, pull
from orlop.image.reference import Reference
from orlop.image.sink import Sink
from orlop.kit import files
from orlop.kit.errors import InvalidInput
from orlop.kit.node import Node
from orlop.kit.progress import Progress, Quiet
from orlop.kit.tasks import in_thread
from orlop.system.kube.model import Container, Data, DesiredPod
from orlop.system.kube.volume_model import Secret

_POLICIES = {"Always": "always", "IfNotPresent": "missing", "Never": "never"}
_STRENGTH = ("always", "newer", "missing", "never")
_KEYS = (".dockerconfigjson", ".dockercfg")
_QUIET = Quiet()


async def pull_images(
    node: Node,
    pods: list[DesiredPod],
    data: Data,
    sink: Sink,
    settings: ImageSettings,
    progress: Progress = _QUIET,
) -> None:
    """Every image of `pods` is in the store afterwards, each asked for once. Raises what a pull raises."""
    wanted: dict[str, tuple[str, DesiredPod]] = {}
    for pod in pods:
        for container in pod.pod.every_container:
            before, policy = wanted.get(container.image), policy_of(container)
            if before is None or _STRENGTH.index(policy) < _STRENGTH.index(before[0]):
                wanted[container.image] = (policy, pod)
    try:
        async with asyncio.TaskGroup() as group:
            for image, (policy, pod) in wanted.items():
                work = pull_one(node, pod, data, image, policy, sink, settings, progress)
                group.create_task(work)
    except BaseExceptionGroup as several:
        raise several.exceptions[0] from None


def policy_of(container: Container) -> str:
    """What `play` asks of orlop.image. A `:latest` whose file says nothing is refreshed where its registry
    answers, and taken as it is here where it does not, as podman does."""
    if not container.image_pull_policy and container.pull_policy == "Always":
        return "newer"
    return _POLICIES[container.pull_policy]


async def pull_one(
    node: Node,
    pod: DesiredPod,
    data: Data,
    image: str,
    policy: str,
    sink: Sink,
    settings: ImageSettings,
    progress: Progress = _QUIET,
) -> Pulled:
    """One image of `pod`, by `policy` of orlop.image."""
    credentials = None
    if policy != "never" and pod.pod.spec.image_pull_secrets:
        credentials = await in_thread(_credentials, node, pod, data, image)
    return await pull(
        image, sink, settings=settings, policy=policy, credentials=credentials, progress=progress
    )


def _credentials(node: Node, pod: DesiredPod, data: Data, image: str) -> Credentials | None:
    """What the first of the pod's pull secrets that knows the registry says."""
    reference = Reference.parse(image)
    for named in pod.pod.spec.image_pull_secrets:
        secret = data.secret(pod.namespace, named.name)
        if secret is None:
            continue  # Kubernetes goes on without it, too
        path = node.in_state(f"auth-{files.unique()}.json")
        files.make_folder(node.state, 0o711)
        try:
            files.write_atomic(path, _document(secret), mode=0o600, durable=False)
            found = auth.find(reference, auth_file=path)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
        if found is not None:
            return found
    return None


def _document(secret: Secret) -> bytes:
    where = f"secret {secret.metadata.namespace}/{secret.metadata.name}"
    for key in _KEYS:
        text = secret.string_data.get(key)
        try:
            content = text.encode() if text is not None else base64.b64decode(secret.data.get(key, ""))
        except (binascii.Error, ValueError) as error:
            raise InvalidInput(where, f"{key} is not base64", hint="encode it anew") from error
        if content:
            return content if key == _KEYS[0] else b'{"auths": ' + content + b"}"
    raise InvalidInput(
        where, "holds no registry credentials", hint="its type is kubernetes.io/dockerconfigjson"
    )
