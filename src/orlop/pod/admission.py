"""Whether the policy allows the images of a container, asked again when it is created.

What was pulled before the policy was tightened is refused here, and so is what came into the store by another
way. No network: what is judged is kept in the store.
"""

from __future__ import annotations

from orlop.image.policy.load import load
from orlop.image.settings import ImageSettings
from orlop.kit.errors import NotFound
from orlop.pod.context import Pods

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from orlop.pod.model import ContainerConfig
    from orlop.store.model import StoredImage


def admit(pods: Pods, image: StoredImage, config: ContainerConfig) -> None:
    """Raises PolicyRefused for the container's `image` or one that it mounts, InvalidInput (no policy).

    Where everything is accepted this reads one small file. What a build made from images that were judged
    (`Pods.judged`) is not judged again.
    """
    if image.id in pods.judged and not any(mount.image for mount in config.mounts):
        return
    policy = load(pods.config.section("image", ImageSettings).policy)
    if policy is None:
        return
    from orlop.store.admit import admit_stored

    if image.id not in pods.judged:
        admit_stored(policy, pods.store, image, config.image_name or config.image)
    for mount in config.mounts:
        if mount.image:
            try:
                mounted = pods.store.image(mount.image)
            except NotFound:  # told where it is mounted
                continue
            if mounted.id not in pods.judged:
                admit_stored(policy, pods.store, mounted, mount.image)
