"""An image's root file system as one archive."""

from __future__ import annotations

from collections.abc import Callable

from orlop.kit.database import Database
from orlop.store import images, leases
from orlop.store.errors import explained
from orlop.store.layout import Layout
from orlop.store.pack.folder import Write
from orlop.store.pack.tree import pack_tree
from orlop.store.view import layers_of, merged


def export_image(
    layout: Layout, database: Database, name: str, write: Write, tick: Callable[[], None]
) -> int:
    """See `Store.export_image`."""
    with leases.hold(layout):
        image_id = images.resolve(database, name)[0]
        leases.use(database, image_id)
        with merged(layout, database, layers_of(database, image_id)) as root:
            return explained(pack_tree)(root, write, tick=tick)
