"""The config of an image: OCI image-spec 1.1, config.md (Docker's schema 2 config is read the same way)."""

from __future__ import annotations

from collections.abc import Mapping

from orlop.image import documents
from orlop.image.digest import Digest
from orlop.kit import limits
from orlop.kit.errors import InvalidInput, LimitExceeded
from orlop.kit.value import dataclass, field

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from typing import Any


@dataclass(frozen=True)
class ImageConfig:
    """What an image says about how to run it. Absent and null are empty; `diff_ids` are bottom first.

    `created` is as written (RFC 3339) or "". `history` holds the raw objects, oldest first.
    """

    os: str
    architecture: str
    variant: str = ""
    env: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    user: str = ""
    working_dir: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    exposed_ports: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    stop_signal: str = ""
    diff_ids: tuple[Digest, ...] = ()
    created: str = ""
    history: tuple[Mapping[str, Any], ...] = ()

    @classmethod
    def from_json(cls, data: bytes, subject: str = "image config") -> ImageConfig:
        """Raises Corrupt where `data` is no image config, LimitExceeded beyond limits.IMAGE_CONFIG_SIZE."""
        if len(data) > limits.IMAGE_CONFIG_SIZE:
            raise LimitExceeded(
                subject,
                f"is longer than {limits.IMAGE_CONFIG_SIZE} bytes",
                hint="have the image built with less in its labels and history",
            )
        document = documents.read_object(data, subject)
        run = documents.mapping(document, "config", subject)
        return cls(
            os=documents.text(document, "os", subject, default="linux"),
            architecture=documents.text(document, "architecture", subject),
            variant=documents.text(document, "variant", subject),
            env=documents.texts(run, "Env", subject),
            entrypoint=documents.texts(run, "Entrypoint", subject),
            cmd=documents.texts(run, "Cmd", subject),
            user=documents.text(run, "User", subject),
            working_dir=documents.text(run, "WorkingDir", subject),
            labels=documents.text_mapping(run, "Labels", subject),
            exposed_ports=tuple(documents.mapping(run, "ExposedPorts", subject)),
            volumes=tuple(documents.mapping(run, "Volumes", subject)),
            stop_signal=documents.text(run, "StopSignal", subject),
            diff_ids=_diff_ids(document, subject),
            created=documents.text(document, "created", subject),
            history=_history(document, subject),
        )


def _diff_ids(document: dict[str, Any], subject: str) -> tuple[Digest, ...]:
    rootfs = documents.mapping(document, "rootfs", subject)
    kind = documents.text(rootfs, "type", subject, default="layers")
    if kind != "layers":
        raise documents.malformed(subject, f"`rootfs.type` is {kind[:40]!r}, not `layers`")
    try:
        return tuple(Digest(item) for item in documents.texts(rootfs, "diff_ids", subject))
    except InvalidInput as error:
        raise documents.malformed(subject, f"`rootfs.diff_ids`: {error}") from error


def _history(document: dict[str, Any], subject: str) -> tuple[Mapping[str, Any], ...]:
    value = document.get("history") or []
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise documents.malformed(subject, "`history` is not a list of objects")
    return tuple(value)
