"""What a container runs: its configuration laid over its image's."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # `signal` makes enums of it, for 3 ms
import os
from collections.abc import Mapping

from orlop.kit import limits
from orlop.kit.errors import InvalidInput, LimitExceeded
from orlop.kit.value import dataclass
from orlop.pod.model import ContainerConfig

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from orlop.image.config import ImageConfig

_NUMBERS = {
    name: number
    for name, number in vars(_signal).items()
    if name.startswith("SIG") and not name.startswith("SIG_") and isinstance(number, int)
}
_NAMES: dict[int, str] = {number: name for name, number in reversed(_NUMBERS.items())}

_LONGEST_SIGNAL = 32  # characters of a name

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class Merged:
    """The process of a container, whole; kept with its record, since exec starts from it."""

    args: tuple[str, ...]
    env: tuple[str, ...]
    cwd: str
    user: str
    stop_signal: str
    volumes: tuple[str, ...] = ()  # of the image, not covered by a mount of the container's
    uid: int = 0  # and below: who `user` is in the image
    gid: int = 0
    groups: tuple[int, ...] = ()
    home: str = "/"


def merged(config: ContainerConfig, image: ImageConfig, *, hostname: str) -> Merged:
    """Lay `config` over `image` as Kubernetes does.

    `command` replaces the image's entrypoint and, without `args`, drops its cmd too. The environment is
    PATH, HOSTNAME and TERM (with a terminal), then the image's, then the container's; the runtime adds HOME,
    since it knows the user. Raises InvalidInput where there is nothing to run or a value cannot be passed on.
    """
    if config.command is not None:
        args = config.command + (config.args or ())
    else:
        args = image.entrypoint + (image.cmd if config.args is None else config.args)
    if not args or not args[0]:
        raise InvalidInput(
            f"container {config.name}",
            f"image {config.image} names no program and neither does the container",
            hint="give a command",
        )
    env = _environment(config, image, hostname)
    cwd = config.working_dir or image.working_dir or "/"
    if not cwd.startswith("/"):
        if config.working_dir:
            raise InvalidInput(
                f"container {config.name}: workingDir", f"{cwd!r} is not absolute", hint="begin it with /"
            )
        cwd = "/" + cwd
    covered = {"/", *(_normal(mount.destination) for mount in config.mounts)}
    values = (*args, *env, cwd, *image.volumes)
    if any("\0" in value for value in values):
        raise InvalidInput(f"container {config.name}", "a value holds a NUL byte", hint="take it out")
    try:
        "".join(values).encode()
    except UnicodeEncodeError:  # JSON can hold halves of surrogate pairs
        raise InvalidInput(
            f"container {config.name}", "a value of its image is no text", hint="have the image built anew"
        ) from None
    if len(image.volumes) > limits.IMAGE_VOLUMES:
        raise LimitExceeded(
            f"container {config.name}",
            f"its image wants {len(image.volumes)} volumes",
            hint=f"have it built with {limits.IMAGE_VOLUMES} at most",
        )
    return Merged(
        args=args,
        env=env,
        cwd=cwd,
        user=config.security.user or image.user,
        stop_signal=stop_signal(config.stop_signal or image.stop_signal or "SIGTERM"),
        volumes=tuple(v for v in map(_normal, image.volumes) if v not in covered and not _is_ours(v)),
    )


def stop_signal(text: str) -> str:
    """`SIGTERM`, `TERM`, `15` or `SIGRTMIN+3` in the form of its name, or its number where it has none.

    Raises InvalidInput.
    """
    name = text[:_LONGEST_SIGNAL].upper().removeprefix("SIG")
    base, plus, more = name.partition("+")
    if len(text) > _LONGEST_SIGNAL:
        number = 0
    elif base == "RTMIN" and (more.isdecimal() or not plus):
        number = _signal.SIGRTMIN + int(more or 0)
    elif name.isdecimal():
        number = int(name)
    else:
        number = _NUMBERS.get(f"SIG{name}", 0)
    if not 1 <= number <= _signal.SIGRTMAX:
        raise InvalidInput(
            f"signal {text[:_LONGEST_SIGNAL]}", "no such signal", hint="name one as SIGTERM, TERM or 15"
        )
    return _NAMES.get(number, str(number))


def _is_ours(path: str) -> bool:
    """Where the runtime mounts: a folder of the image there would hide what is masked (CVE-2019-16884)."""
    return (path + "/").startswith(("/proc/", "/sys/", "/dev/"))


def _normal(path: str) -> str:
    return os.path.normpath("/" + path.lstrip("/"))


def _environment(config: ContainerConfig, image: ImageConfig, hostname: str) -> tuple[str, ...]:
    values: dict[str, str] = {"PATH": DEFAULT_PATH, "HOSTNAME": hostname}
    if config.terminal:
        values["TERM"] = "xterm"
    for entry in image.env:
        name, _, value = entry.partition("=")
        values[name] = value
    for name, value in config.env:
        if not name or "=" in name:
            raise InvalidInput(
                f"container {config.name}: env", f"{name!r} is not a name", hint="write it as NAME=value"
            )
        values[name] = value
    return as_entries(values)


def as_entries(values: Mapping[str, str]) -> tuple[str, ...]:
    """A mapping in the form of execve(2)."""
    return tuple(f"{name}={value}" for name, value in values.items())
