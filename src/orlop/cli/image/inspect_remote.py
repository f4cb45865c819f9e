"""Images elsewhere, for `orlop image inspect`: read over their transport, nothing is stored."""

from __future__ import annotations

import argparse
import json

from orlop.cli.context import Context
from orlop.cli.output import plain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from orlop.image.manifest import Manifest
    from orlop.image.platform import Platform
    from orlop.image.transport.source import RawManifest, Source


def inspect(context: Context, arguments: argparse.Namespace, name: str) -> dict[str, object]:
    """What can be said of an image without its layers; of an artifact without a config less."""
    from orlop.image.config import ImageConfig
    from orlop.image.manifest import is_image

    with _opened(context, arguments, name) as source:
        top = source.manifest()
        raw, manifest = _image(source, top, arguments, name)
        found: dict[str, object] = {
            "id": manifest.config.digest,
            "digest": raw.digest,
            "names": [name],
            "digests": list(dict.fromkeys((top.digest, raw.digest))),
            "size": sum(layer.size for layer in manifest.layers),
            "created": None,
            "layers": [layer.digest for layer in manifest.layers],
        }
        if is_image(manifest):
            data = _blob(source, manifest, name)
            config = plain(ImageConfig.from_json(data, f"{name}: config"))
            assert isinstance(config, dict)
            found["created"] = config.pop("created", None) or None
            config.pop("diff_ids", None)
            found["history"] = config.pop("history", [])
            found |= {key: config.pop(key) for key in ("os", "architecture", "variant")}
            found["config"] = config
        else:
            found["artifact_type"] = manifest.artifact_type or manifest.config.media_type
        found["manifest"] = json.loads(raw.data)
        return found


def raw_bytes(context: Context, arguments: argparse.Namespace, name: str) -> bytes:
    """The manifest or index that `name` leads to, or with `config` the config, byte for byte."""
    with _opened(context, arguments, name) as source:
        top = source.manifest()
        if not arguments.config_bytes:
            return top.data if not arguments.platform else _image(source, top, arguments, name)[0].data
        return _blob(source, _image(source, top, arguments, name)[1], name)


class _opened:  # noqa: N801 (used as a function is)
    """A name's source for a `with` block."""

    def __init__(self, context: Context, arguments: argparse.Namespace, name: str) -> None:
        from orlop.cli.image.sides import options, transports
        from orlop.image.transport.locate import parse

        self._source = transports(context).source(parse(name, default=""), options(context, arguments))

    def __enter__(self) -> Source:
        return self._source

    def __exit__(self, *_: object) -> None:
        self._source.close()


def _platform(arguments: argparse.Namespace) -> Platform:
    from orlop.image.platform import Platform

    return Platform.parse(arguments.platform) if arguments.platform else Platform.host()


def _image(
    source: Source, raw: RawManifest, arguments: argparse.Namespace, name: str
) -> tuple[RawManifest, Manifest]:
    """The manifest for the wanted platform, through indexes."""
    from orlop.image.manifest import Manifest, parse
    from orlop.image.platform import choices
    from orlop.kit import limits
    from orlop.kit.errors import LimitExceeded

    kind = raw.media_type
    for _ in range(limits.INDEX_DEPTH + 1):
        parsed = parse(raw.data, kind, name)
        if isinstance(parsed, Manifest):
            return raw, parsed
        entry = choices(parsed, _platform(arguments), name)[0]
        raw, kind = source.manifest(entry.digest), entry.media_type
    raise LimitExceeded(name, "too many indexes within each other", hint="name an image inside")


def _blob(source: Source, manifest: Manifest, name: str) -> bytes:
    from orlop.kit import limits
    from orlop.kit.errors import LimitExceeded
    from orlop.kit.progress import QuietMeter

    blob = manifest.config
    if blob.size > limits.IMAGE_CONFIG_SIZE:
        raise LimitExceeded(name, f"its config has {blob.size} bytes", hint="look at it with --raw")
    room = memoryview(bytearray(blob.size + 1))
    filled = 0
    with source.open_blob(blob, QuietMeter()) as reader:
        while count := reader.readinto(room[filled:]):
            filled += count
    return bytes(room[:filled])
