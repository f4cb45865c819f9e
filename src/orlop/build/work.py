"""Where COPY, ADD and mounts take files from: the context, another one, a stage, an image."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

from orlop.build.containerfile import model
from orlop.build.context.tree import Tree
from orlop.build.errors import wrong
from orlop.image.policy.errors import PolicyRefused
from orlop.kit.errors import Denied, NotFound, Unavailable

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from orlop.build.build import Build


@dataclass(frozen=True)
class Origin:
    """`tree`: a folder that is open already; else `image_id`, an image whose root is opened when asked for
    ("" is a stage that has nothing). `key` stands for all that is in it; "": its files must be read."""

    build: Build
    label: str
    key: str = ""
    tree: Tree | None = None
    image_id: str = ""

    @contextlib.contextmanager
    def open(self) -> Iterator[Tree]:
        if self.tree is not None:
            yield self.tree
        elif self.image_id:
            with (
                self.build.store.image_root(self.image_id) as path,
                Tree(path, self.label, owners=True) as tree,
            ):
                yield tree
        else:
            with self.build.scratch() as path, Tree(path, self.label, owners=True) as tree:
                yield tree


def origin(build: Build, stage: model.Stage, name: str, place: model.Place) -> Origin:
    """What `--from=NAME` (or a mount's from=) means in this stage; waits for a stage that is not done."""
    if not name:
        return Origin(build, "the context", tree=build.context.tree)
    before = build.parsed.stage(name, before=stage.index)
    if before is not None:
        state = build.state_of(before)
        return Origin(build, f"stage {name}", key=str(state.chain or "empty"), image_id=state.image_id)
    named = build.named_context(name)
    if named is not None:
        return Origin(build, f"context {name}", tree=named)
    if name == "scratch":
        return Origin(build, "scratch", key="empty")
    if name.isascii() and name.isdigit():
        raise wrong(place, f"there is no stage {name} before this one", "stages are counted from 0")
    try:
        image_id = build.image_of(build.meant(name), build.platform, place)
    except (NotFound, Unavailable, Denied) as error:
        if build.parsed.stage(name) is None or isinstance(error, PolicyRefused):
            raise
        cause = f"stage {name} is not before this one, and there is no image {name}: {error}"
        raise wrong(place, cause, "put that stage first") from error
    return Origin(build, f"image {name}", key=image_id, image_id=image_id)
