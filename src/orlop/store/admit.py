"""Whether a policy allows an image of the store: what is kept with it is handed to `image.policy.stored`."""

from __future__ import annotations

from orlop.image.policy.load import load
from orlop.image.policy.stored import Kept, admit
from orlop.store.model import StoredImage
from orlop.store.store import Store

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from orlop.image.policy.model import Policy


def admit_stored(policy: Policy, store: Store, image: StoredImage, asked: str) -> None:
    """Raises PolicyRefused, InvalidInput; `asked` is how the image was asked for."""
    kept = Kept(
        image.id,
        store.manifest_bytes(image.id),
        store.config_bytes(image.id),
        image.layers,
        image.names,
        store.documents(image.id),
    )
    admit(policy, kept, asked)


def admit_by_policy(store: Store, name: str, policy_file: str = "") -> StoredImage:
    """The image of this name, which the policy allows. Raises NotFound, PolicyRefused, InvalidInput."""
    image = store.image(name)
    policy = load(policy_file)
    if policy is not None:
        admit_stored(policy, store, image, name)
    return image
