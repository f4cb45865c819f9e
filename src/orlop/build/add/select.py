"""Which files of a tree a COPY or ADD means: the same for copying and for the cache key."""

from __future__ import annotations

import re
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from orlop.build.add.remote import is_remote
from orlop.build.containerfile.errors import bad
from orlop.build.containerfile.model import Add, Copy
from orlop.build.context import inside
from orlop.build.context.ignore import Ignore
from orlop.build.context.inside import Parts
from orlop.build.context.tree import Node, Tree
from orlop.kit.errors import NotFound

_WILD = re.compile(r"[*?\[\\]")


@dataclass(frozen=True)
class Item:
    """One source. `name`: what it is called in a folder; `include`: with --parents, what of the folder
    `real` is meant, and `required`: that it must be there."""

    real: Parts
    name: str
    is_folder: bool
    include: Ignore | None = None
    required: str = ""


def selected(instruction: Copy | Add, tree: Tree) -> list[Item]:
    """The local sources, wildcards written out. Raises NotFound, InvalidInput."""
    local = [source for source in instruction.sources if not is_remote(source)]
    if isinstance(instruction, Copy) and len(local) < len(instruction.sources):
        remote = next(source for source in instruction.sources if is_remote(source))
        raise bad(instruction.place, f"COPY of {remote}", "COPY takes files; use ADD for an address")
    items: list[Item] = []
    for source in local:
        if isinstance(instruction, Copy) and instruction.parents:
            items.append(_with_parents(source, tree))
        else:
            items += [_item(path, tree) for path in tree.expand(source)]
    if local and not items:
        raise NotFound(
            f"{tree.label}: {' '.join(local)}",
            "matches nothing",
            hint=f"see what {tree.label} has, and whether the ignore file leaves it out",
        )
    return items


def entries(
    item: Item, tree: Tree, exclude: tuple[str, ...], tick: Callable[[], None]
) -> Iterator[tuple[Parts, Node]]:
    """What of an item is copied, with its place below the destination: () for a file and for the start."""
    ignore = Ignore(exclude, "--exclude") if exclude else None

    def skip(parts: Parts) -> bool:
        return ignore is not None and not ignore.brings_back and ignore.excludes("/".join(parts))

    if not item.is_folder:
        if ignore is None or not ignore.excludes(item.name):
            for node in tree.walk(item.real, tick=tick):
                yield (), node
        return
    nodes = tree.walk(item.real, skip=skip, tick=tick)
    if ignore is not None and ignore.brings_back:
        nodes = _kept(nodes, lambda path: not ignore.excludes(path))
    if item.include is not None:
        nodes = _kept(nodes, item.include.excludes)
    found = False
    for node in nodes:
        found = found or bool(node.parts)
        yield node.parts, node
    if item.required and not found:
        raise NotFound(f"{tree.label}: {item.required}", "no such file or folder", hint="see its name")


def _kept(nodes: Iterator[Node], wanted: Callable[[str], bool]) -> Iterator[Node]:
    """Those that are wanted, and the folders on the way to them, which are told as late as can be."""
    waiting: list[Node] = []
    for node in nodes:
        while waiting and waiting[-1].parts != node.parts[: len(waiting[-1].parts)]:
            waiting.pop()
        if not node.parts:
            yield node
        elif wanted("/".join(node.parts)):
            yield from waiting
            waiting.clear()
            yield node
        elif node.is_folder:
            waiting.append(node)


def _item(path: str, tree: Tree) -> Item:
    real = tree.find(path)
    is_folder = stat.S_ISDIR(tree.status(real).st_mode)
    return Item(real, path.rpartition("/")[2] or (real[-1] if real else ""), is_folder)


def _with_parents(source: str, tree: Tree) -> Item:
    """`BASE/./PATTERN`: what is before the pivot is not kept; without one all of the path is."""
    base, pivot, pattern = source.partition("/./")
    if not pivot:
        base, pattern = "", source
    real = tree.find(base)
    wanted = "/".join(inside.cleaned(pattern))
    required = "" if _WILD.search(source) else "/".join(part for part in (*real, wanted) if part)
    include = Ignore([wanted or "**"], "--parents")
    return Item(real, "", is_folder=True, include=include, required=required)
