"""Whether a policy allows an image of the store: what is kept with it is handed to `image.policy.stored`."""

from __future__ import annotations

from orlop.image.policy import scopes
from orlop.image.policy.gate import asked_of
from orlop.image.policy.load import load
from orlop.image.policy.stored import Kept, admit, judge_as
from orlop.image.transport import locate
from orlop.image.transport.locate import Location
from orlop.store.model import StoredImage
from orlop.store.store import Store

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from orlop.image.policy.model import Policy


def admit_stored(policy: Policy, store: Store, image: StoredImage, asked: str) -> None:
    """Raises PolicyRefused, InvalidInput; `asked` is how the image was asked for."""
    admit(policy, _kept(store, image), asked)


def admit_copy(store: Store, name: str, policy_file: str = "") -> None:
    """Whether the image may be copied out of the store: yes, where the policy does not speak of stores.

    What is here was judged when it came, or was made here and must be pushed before it can be signed. Raises
    NotFound, PolicyRefused, InvalidInput.
    """
    policy = load(policy_file)
    if policy is not None and scopes.knows(policy, locate.STORE):
        judge_as(policy, _kept(store, store.image(name)), asked_of(Location(locate.STORE, name)))


def admit_by_policy(store: Store, name: str, policy_file: str = "") -> StoredImage:
    """The image of this name, which the policy allows. Raises NotFound, PolicyRefused, InvalidInput."""
    image = store.image(name)
    policy = load(policy_file)
    if policy is not None:
        admit_stored(policy, store, image, name)
    return image


def _kept(store: Store, image: StoredImage) -> Kept:
    return Kept(
        image.id,
        store.manifest_bytes(image.id),
        store.config_bytes(image.id),
        image.layers,
        image.names,
        store.documents(image.id),
    )
