"""Which image stands on which: the layers of all images as a forest."""

from __future__ import annotations

from dataclasses import dataclass, field

from orlop.kit.database import Database
from orlop.store import images


@dataclass
class Branch:
    """Layers that always come together (chain IDs, lowest first), and what stands on them.

    `size` is their unpacked bytes. `images`: (id, names) of those that end here.
    """

    layers: list[str]
    size: int
    images: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)
    above: list[Branch] = field(default_factory=list)


def branches(database: Database, name: str = "") -> list[Branch]:
    """See `Store.branches`."""
    wanted = images.resolve(database, name)[0] if name else ""
    sizes = {
        row["chain_id"]: int(row["size"])
        for row in database.query(
            "SELECT l.chain_id, d.size FROM layers l JOIN diffs d ON d.diff_id = l.diff_id"
        )
    }
    root = Branch([], 0)
    by_chain: dict[str, Branch] = {}
    for image in images.all_images(database):
        below = root
        for chain_id in image.layers:
            found = by_chain.get(chain_id)
            if found is None:
                found = by_chain[chain_id] = Branch([chain_id], sizes.get(chain_id, 0))
                below.above.append(found)
            below = found
        below.images.append((image.id, image.names))
    if wanted:
        root = _around(root, wanted)
    return [*([root] if root.images else []), *(_joined(branch) for branch in root.above)]


def _around(root: Branch, wanted: str) -> Branch:
    """The image's own layers from the lowest on, and of what stands beside them nothing."""
    path = _path(root, wanted)
    kept = path[-1]
    for branch in reversed(path[:-1]):
        kept = Branch(branch.layers, branch.size, branch.images, [kept])
    return kept


def _path(root: Branch, wanted: str) -> list[Branch]:
    """The branches from `root` to the one where the image ends."""
    pending = [[root]]
    while pending:
        path = pending.pop()
        if any(image_id == wanted for image_id, _ in path[-1].images):
            return path
        pending += [[*path, above] for above in path[-1].above]
    return [root]


def _joined(branch: Branch) -> Branch:
    """Layers of which only one other stands on, and no image ends at, are told as one."""
    layers, size = list(branch.layers), branch.size
    while not branch.images and len(branch.above) == 1:
        branch = branch.above[0]
        layers += branch.layers
        size += branch.size
    return Branch(layers, size, branch.images, [_joined(above) for above in branch.above])
