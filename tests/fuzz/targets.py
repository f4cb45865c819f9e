"""What is fuzzed: functions of bytes. Whatever comes in, only OrlopErrors may come out.

Imports are in the functions: the harness instruments what is imported while it runs.
"""

from __future__ import annotations

import contextlib
import io
import os
import tempfile
from collections.abc import Callable
from typing import Any

Target = Callable[[bytes], None]


def _text(data: bytes) -> str:
    return data.decode(errors="replace")


def reference() -> Target:
    from orlop.image.reference import Reference
    from orlop.image.transport import locate
    from orlop.kit.errors import OrlopError

    def run(data: bytes) -> None:
        text = _text(data)
        with contextlib.suppress(OrlopError):
            found = Reference.parse(text)
            again = Reference.parse(found.canonical)
            assert again == found, (found, again)
            assert found.canonical.isascii()
        with contextlib.suppress(OrlopError):
            locate.parse(text)

    return run


def manifest() -> Target:
    from orlop.image import manifest as module
    from orlop.image.config import ImageConfig
    from orlop.kit.errors import OrlopError

    def run(data: bytes) -> None:
        with contextlib.suppress(OrlopError):
            found = module.parse(data)
            if isinstance(found, module.Manifest):
                module.check_image(found, "fuzz")
                for layer in found.layers:
                    module.compression(layer, "fuzz")
        with contextlib.suppress(OrlopError):
            ImageConfig.from_json(data)

    return run


def tar() -> Target:
    """Unpacked whole, as a layer: nothing may be left outside, times and owners may be anything."""
    from orlop.build.context import archive
    from orlop.kit.errors import OrlopError
    from orlop.store.model import StoreSettings

    settings = StoreSettings(layer_unpacked_limit=1 << 20, layer_entries_limit=100)

    def run(data: bytes) -> None:
        with tempfile.TemporaryDirectory(prefix="orlop-fuzz-") as folder:
            with contextlib.suppress(OrlopError):
                archive.unpack(io.BytesIO(data), folder, "fuzz", settings=settings)
            with contextlib.suppress(OrlopError):
                archive.is_archive(io.BytesIO(data), "fuzz")

    return run


def erofs() -> Target:
    """A layer into one file, its index written: whatever the entries, and the same verdict as for files."""
    from orlop.kit.errors import OrlopError
    from orlop.store.erofs import target
    from orlop.store.unpack import files, tar
    from orlop.store.unpack.extract import Extractor

    def verdict(writer: Any, data: bytes) -> str:
        pieces = iter([data])
        extractor = Extractor[Any](writer, "fuzz", unpacked_limit=1 << 20, entries_limit=100)
        try:
            extractor.run(tar.Archive(lambda: next(pieces, None), "fuzz"))
        except OrlopError as error:
            return str(error)
        return ""

    def run(data: bytes) -> None:
        with tempfile.TemporaryDirectory(prefix="orlop-fuzz-") as folder:
            form = target.ErofsTarget(f"{folder}/layer", "fuzz", "sha256:" + "0" * 64)
            try:
                form.write(data)
                packed = verdict(form.writer, data)
                if not packed:
                    form.finish()
            finally:
                form.close()
            os.mkdir(f"{folder}/files")
            writer = files.FileWriter(f"{folder}/files", "fuzz", lambda file, before, count: None)
            try:
                unpacked = verdict(writer, data)
            finally:
                writer.close()
            assert bool(packed) == bool(unpacked), (packed, unpacked)

    return run


def containerfile() -> Target:
    from orlop.build.containerfile import model, scope
    from orlop.build.containerfile.expand import expanded
    from orlop.build.containerfile.parse import parse, trigger
    from orlop.kit.errors import OrlopError

    predefined = scope.platform_args("linux/amd64", "linux/arm/v7")

    def run(data: bytes) -> None:
        with contextlib.suppress(OrlopError):
            found = parse(data, "fuzz")
            args = scope.globals_of(found, {"GIVEN": "x"}, predefined)
            for stage in found.stages:
                expanded(stage.base, args, found.escape)
                here = scope.Scope({"PATH": "/bin"}, global_args=args, build_args={}, escape=found.escape)
                for instruction in stage.instructions:
                    step(here, instruction, found.escape)

    def step(here: scope.Scope, instruction: model.Instruction, escape: str) -> None:
        if isinstance(instruction, model.Arg):
            here.arg(instruction)
        elif isinstance(instruction, model.Env):
            here.env(instruction)
        elif isinstance(instruction, model.Onbuild):
            again = trigger(instruction.expression, "fuzz", escape)
            assert not isinstance(again, model.Onbuild)
        else:
            final = expanded(instruction, here.variables, escape)
            if isinstance(final, model.Run):
                final.script(("/bin/sh", "-c"))

    return run


def registries() -> Target:
    from orlop.image.registries.load import parse
    from orlop.kit.errors import OrlopError

    def run(data: bytes) -> None:
        for drop_in in (False, True):
            with contextlib.suppress(OrlopError):
                parse(_text(data), drop_in=drop_in)

    return run


def policy() -> Target:
    from orlop.image.policy.parse import parse
    from orlop.kit.errors import OrlopError

    def run(data: bytes) -> None:
        with contextlib.suppress(OrlopError):
            parse(data)

    return run


def signature() -> Target:
    from orlop.image.signature import bundle, log, payload
    from orlop.kit.errors import OrlopError

    def run(data: bytes) -> None:
        with contextlib.suppress(OrlopError):
            bundle.read(data)
        with contextlib.suppress(OrlopError):
            log.entry_of_annotation(_text(data))
        for kind in ("cosign container image signature", "atomic container signature"):
            with contextlib.suppress(OrlopError):
                payload.read(data, kind)

    return run


def ignore() -> Target:
    from orlop.build.context.ignore import Ignore, parse
    from orlop.build.context.pattern import Pattern
    from orlop.kit.errors import OrlopError

    paths = ("a", "a/b", "a.txt", "x/y/z.txt", "foo/bar/baz", "é", "-", "a" * 60)

    def run(data: bytes) -> None:
        with contextlib.suppress(OrlopError):
            patterns = parse(data)
            found = Ignore(patterns)
            for path in paths:
                found.excludes(path)
            for pattern in map(Pattern, patterns):
                for path in paths:
                    assert pattern._suffix is not None or pattern.matches(path) == pattern.followed(path)

    return run


def image_archive() -> Target:
    """The index over an archive of images, and every member's way through links."""
    from orlop.image.transport.docker_archive import DockerArchiveSource
    from orlop.image.transport.layout.reading import Turn
    from orlop.image.transport.layout.tar_index import ArchiveFiles
    from orlop.kit.errors import OrlopError

    def run(data: bytes) -> None:
        descriptor = os.memfd_create("fuzz")
        try:
            os.write(descriptor, data)
            path = f"/proc/self/fd/{descriptor}"
            with contextlib.suppress(OrlopError):
                files = ArchiveFiles(path, "fuzz", Turn())
                for name in files.names():
                    with contextlib.suppress(OrlopError), files.open(name) as region:
                        assert len(region.read_all(len(data), "fuzz")) == region.size
                files.close()
            with contextlib.suppress(OrlopError):
                DockerArchiveSource(path).manifest()
        finally:
            os.close(descriptor)

    return run


def layout_index() -> Target:
    """index.json: what a name means in it, and that a change of it is an index again."""
    from orlop.image.transport.layout import entries
    from orlop.kit.errors import NotFound, OrlopError

    def absent(digest: object) -> bytes:
        raise NotFound(str(digest), "not in this test", hint="none")

    def run(data: bytes) -> None:
        with contextlib.suppress(OrlopError):
            entries.read_layout(data, "fuzz")
        with contextlib.suppress(OrlopError):
            found = entries.read_index(data, "fuzz")
            for reference in ("", "v1", "@0", "@x"):
                with contextlib.suppress(OrlopError):
                    entries.choose(found, reference, absent, "fuzz")
            put = entries.Put("v1", {"mediaType": "a/b", "digest": "sha256:" + "0" * 64, "size": 1})
            for unnamed in (True, False):
                changed = entries.edited(data, [put], "fuzz", replace_unnamed=unnamed)
                assert entries.read_index(changed, "fuzz").manifests

    return run


def tar_split() -> Target:
    """Records that put a layer together from a folder with one file."""
    from orlop.image.transport import tar_split as module
    from orlop.kit.errors import OrlopError

    def run(data: bytes) -> None:
        with tempfile.TemporaryDirectory(prefix="orlop-fuzz-") as folder:
            with open(os.path.join(folder, "a"), "wb") as stream:
                stream.write(b"a" * 100)
            descriptor = os.memfd_create("fuzz")
            root = os.open(folder, os.O_PATH)
            try:
                os.write(descriptor, data)
                os.lseek(descriptor, 0, os.SEEK_SET)
                with contextlib.suppress(OrlopError):
                    for _ in module.assembled(descriptor, root, "fuzz", lambda: None):
                        pass
            finally:
                os.close(descriptor)
                os.close(root)

    return run


def sync_list() -> Target:
    from orlop.image.sync import listed
    from orlop.image.sync.semver import Constraint
    from orlop.kit.errors import OrlopError

    def run(data: bytes) -> None:
        with contextlib.suppress(OrlopError):
            listed.parse(data, "fuzz")
        with contextlib.suppress(OrlopError):
            Constraint(_text(data)).holds("1.2.3")

    return run


TARGETS: dict[str, Callable[[], Target]] = {
    made.__name__: made
    for made in (
        *(reference, manifest, tar, erofs, containerfile, registries, policy, signature, ignore),
        *(image_archive, layout_index, tar_split, sync_list),
    )
}
