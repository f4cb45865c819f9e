"""RUN --mount: what is mounted into a step's container, and what of it counts for the cache key.

cache   a folder of the node that outlives builds (store: root/build/cache/<id>)
bind    from the context, a stage or an image; what is written is thrown away
secret  a file in memory, or a variable; nothing of it is in the key
tmpfs   memory
"""

from __future__ import annotations

import contextlib
import os
import posixpath
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from orlop.build import work
from orlop.build.add import digest
from orlop.build.caches import Cache
from orlop.build.containerfile import model
from orlop.build.errors import refused, wrong
from orlop.build.keys import key
from orlop.build.run import Secret
from orlop.kit import files, limits
from orlop.runtime.model import Mount

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from orlop.build.build import Build


@dataclass(frozen=True)
class Ready:
    """`overlays`: by destination, a folder for what is written over the mount there."""

    mounts: tuple[Mount, ...]
    overlays: Mapping[str, str]
    secrets: tuple[Secret, ...]


@dataclass(frozen=True)
class Prepared:
    """`asked` with where each takes from (None: from nowhere), looked up before the step's turn."""

    build: Build
    place: model.Place
    workdir: str
    asked: tuple[tuple[model.Mount, work.Origin | None], ...]
    key: str

    @contextlib.contextmanager
    def open(self, scratch: str, script: model.Script) -> Iterator[Ready]:
        """The mounts for one container; locks on caches are held for the block."""
        mounts: list[Mount] = []
        overlays: dict[str, str] = {}
        secrets: list[Secret] = []
        with contextlib.ExitStack() as stack:
            for number, (mount, origin) in enumerate(self.asked):
                target = _target(mount, self.workdir)
                if mount.kind == "tmpfs":
                    options = (f"mode={mount.mode:o}",) if mount.mode is not None else ()
                    mounts.append(Mount(target, size=mount.size or 0, options=options))
                elif mount.kind == "secret":
                    secrets += self._secret(mount)
                elif mount.kind == "cache":
                    mounts.append(self._cache(stack, mount, origin, target))
                else:
                    assert origin is not None
                    mounts.append(_bind(mount, origin, target, self.place))
                    if not mount.read_only:
                        overlays[target] = f"{scratch}/overlay-{number}"
            if script.file is not None:
                mounts.append(_script(scratch, script))
            yield Ready(tuple(mounts), overlays, tuple(secrets))

    def _secret(self, mount: model.Mount) -> list[Secret]:
        identifier = mount.id or posixpath.basename(mount.target)
        give = self.build.options.secrets.get(identifier)
        if give is None:
            if mount.required:
                raise wrong(
                    self.place,
                    f"secret {identifier} is required and was not given",
                    f"orlop build --secret id={identifier},src=FILE",
                )
            return []
        data = give()
        variable = "" if mount.env is None else mount.env or identifier
        target = mount.target or ("" if variable else f"/run/secrets/{identifier}")
        mode = 0o400 if mount.mode is None else mount.mode
        return [Secret(data, target, variable, mode, mount.uid or 0, mount.gid or 0)]

    def _cache(
        self, stack: contextlib.ExitStack, mount: model.Mount, origin: work.Origin | None, target: str
    ) -> Mount:
        cache = Cache(self.build.node, mount.id or target, mount.sharing or "shared")
        fill = None
        if origin is not None:
            fill = stack.enter_context(_opened(origin, mount.source or "/", self.place))
        elif mount.source not in ("", "/"):
            raise refused(self.place, "source= of a cache without from=", "name a stage with from=")
        folder = stack.enter_context(
            cache.open(
                mode=0o755 if mount.mode is None else mount.mode,
                owner=(mount.uid or 0, mount.gid or 0),
                fill=fill,
                tick=self.build.check,
            )
        )
        return Mount(target, folder, read_only=mount.read_only)


def prepare(build: Build, stage: model.Stage, instruction: model.Run, workdir: str) -> Prepared:
    """Look up what the mounts of an expanded RUN are from. Raises what is wrong with them."""
    asked: list[tuple[model.Mount, work.Origin | None]] = []
    parts: list[object] = []
    if sum(mount.kind == "secret" for mount in instruction.mounts) > limits.SECRETS_PER_RUN:
        raise wrong(instruction.place, f"more than {limits.SECRETS_PER_RUN} secrets", "use several RUNs")
    for mount in instruction.mounts:
        origin: work.Origin | None = None
        words: list[object] = [mount.kind, mount.target, mount.read_only, mount.mode, mount.uid, mount.gid]
        if mount.kind == "ssh":
            raise refused(
                instruction.place,
                "RUN --mount=type=ssh is not supported",
                "give a key as a secret: --mount=type=secret",
            )
        if mount.kind == "bind" or (mount.kind == "cache" and mount.from_):
            origin = work.origin(build, stage, mount.from_, instruction.place)
        if mount.kind == "bind":
            assert origin is not None
            words += [mount.source, origin.key or _digest(origin, mount.source, build)]
        else:
            words += [mount.id, mount.sharing, mount.size, mount.env, mount.from_, mount.source]
        parts.append(words)
        asked.append((mount, origin))
    return Prepared(build, instruction.place, workdir, tuple(asked), key("mounts", *parts) if parts else "")


def _digest(origin: work.Origin, source: str, build: Build) -> str:
    with origin.open() as tree:
        return digest.of_path(tree, source or "/", tick=build.check)


def _target(mount: model.Mount, workdir: str) -> str:
    return posixpath.normpath(posixpath.join("/", workdir, mount.target)) if mount.target else ""


def _bind(mount: model.Mount, origin: work.Origin, target: str, place: model.Place) -> Mount:
    """By names that the runtime, another process, can use: it resolves them again within their root."""
    if origin.tree is None and not origin.image_id:
        raise wrong(place, f"{origin.label} has no files to mount", "name another stage")
    if origin.tree is None:
        return Mount(target, image=origin.image_id, sub_path=mount.source.strip("/"), read_only=True)
    found = "/".join(os.fsdecode(part) for part in origin.tree.find(mount.source or "/"))
    return Mount(target, os.path.realpath(origin.tree.path), sub_path=found, read_only=True)


@contextlib.contextmanager
def _opened(origin: work.Origin, source: str, place: model.Place) -> Iterator[str]:
    """The path, for this process, of a folder of the origin."""
    with origin.open() as tree:
        try:
            found = files.open_in_root(tree.root, source, os.O_PATH | os.O_DIRECTORY)
        except OSError as error:
            raise wrong(
                place, f"{source} of {origin.label} is no folder: {error.strerror}", "name one that is there"
            ) from error
        try:
            yield f"/proc/self/fd/{found}/."
        finally:
            os.close(found)


def _script(scratch: str, script: model.Script) -> Mount:
    assert script.file is not None
    path = f"{scratch}/script"
    with open(path, "w", encoding="utf-8", errors="surrogateescape") as stream:
        stream.write(script.file)
    os.chmod(path, 0o755)  # noqa: S103 - whoever USER is runs it
    return Mount(script.argv[0], path, read_only=True)
