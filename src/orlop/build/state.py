"""A stage under construction: its config, what its lines see, its layers."""

from __future__ import annotations

from dataclasses import dataclass

from orlop.build.configure import Configuring
from orlop.build.containerfile.scope import Scope
from orlop.build.document import Document
from orlop.build.model import LayerOf
from orlop.image.digest import Digest, chain_ids
from orlop.image.manifest import Manifest, compression, parse
from orlop.kit.errors import Corrupt

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from orlop.store.store import Store


@dataclass
class State:
    """`image_id` is a stored image that has exactly `layers`; "" before the first."""

    configuring: Configuring
    scope: Scope
    layers: list[LayerOf]
    image_id: str

    @property
    def document(self) -> Document:
        return self.configuring.document

    @property
    def chain(self) -> Digest | None:
        return Digest(self.layers[-1].chain_id) if self.layers else None

    def child(self) -> State:
        """What a stage that starts FROM this one begins with."""
        return State(self.configuring.copy(), self.scope.child(), list(self.layers), self.image_id)


def layers_of(store: Store, image_id: str) -> list[LayerOf]:
    """The layers of a stored image as its manifest has them, bottom first. Raises NotFound, Corrupt."""
    config = store.image_config(image_id)
    manifest = parse(store.manifest_bytes(image_id), subject=f"image {image_id}")
    if not isinstance(manifest, Manifest) or len(manifest.layers) != len(config.diff_ids):
        raise Corrupt(
            f"image {image_id}", "its manifest does not fit its config", hint="remove it and pull it again"
        )
    return [
        LayerOf(chain, diff, str(layer.digest), layer.size, compression(layer, f"image {image_id}"))
        for chain, diff, layer in zip(
            chain_ids(config.diff_ids), config.diff_ids, manifest.layers, strict=True
        )
    ]
