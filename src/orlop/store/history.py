"""The steps that an image was made by, with the layers that they left."""

from __future__ import annotations

from orlop.image.config import ImageConfig
from orlop.kit.database import Database
from orlop.kit.value import dataclass
from orlop.store import images
from orlop.store.view import layers_of


@dataclass(frozen=True)
class Step:
    """`chain_id` is the layer's, "" where the step left none. `size` is unpacked bytes.

    Texts are as the image says them, hostile by assumption; "" where it says nothing.
    """

    chain_id: str
    created: str
    created_by: str
    size: int
    comment: str
    author: str


def history(database: Database, name: str) -> tuple[Step, ...]:
    """See `Store.history`."""
    image_id = images.resolve(database, name)[0]
    config = ImageConfig.from_json(images.document(database, image_id, "config"))
    layers = iter(layers_of(database, image_id))
    steps = []
    for entry in config.history:
        chain_id = "" if entry.get("empty_layer") is True else next(layers, "")
        texts = [_text(entry.get(key)) for key in ("created", "created_by", "comment", "author")]
        created, created_by, comment, author = texts
        steps.append(Step(chain_id, created, created_by, _size(database, chain_id), comment, author))
    steps += [Step(chain_id, "", "", _size(database, chain_id), "", "") for chain_id in layers]
    return tuple(steps)


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _size(database: Database, chain_id: str) -> int:
    query = "SELECT d.size FROM layers l JOIN diffs d ON d.diff_id = l.diff_id WHERE l.chain_id = ?"
    rows = database.query(query, (chain_id,))
    return int(rows[0]["size"]) if rows else 0
