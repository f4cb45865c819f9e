"""A container's configuration over its image's."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orlop.image.config import ImageConfig
from orlop.kit.errors import InvalidInput
from orlop.pod.merge import merged, stop_signal
from orlop.pod.model import ContainerConfig
from orlop.runtime.model import Mount, Security

IMAGE = ImageConfig(
    os="linux",
    architecture="amd64",
    env=("PATH=/image/bin", "A=image", "B=image"),
    entrypoint=("/entry",),
    cmd=("one", "two"),
    user="www-data",
    working_dir="/srv",
    volumes=("/data", "/cache/", "/"),
    stop_signal="SIGQUIT",
)
CONFIG = ContainerConfig("web", "image")


@pytest.mark.parametrize(
    ("command", "args", "expected"),
    [
        (None, None, ("/entry", "one", "two")),
        (None, ("x",), ("/entry", "x")),
        (None, (), ("/entry",)),
        (("/other",), None, ("/other",)),
        (("/other",), ("x",), ("/other", "x")),
    ],
)
def test_command_and_args_replace_entrypoint_and_cmd_as_kubernetes_says(
    command: tuple[str, ...] | None, args: tuple[str, ...] | None, expected: tuple[str, ...]
) -> None:
    config = replace(CONFIG, command=command, args=args)
    assert merged(config, IMAGE, hostname="h").args == expected


def test_the_environment_is_ours_then_the_images_then_the_containers() -> None:
    config = replace(CONFIG, env=(("B", "mine"), ("C", "=")), terminal=True)
    env = dict(entry.split("=", 1) for entry in merged(config, IMAGE, hostname="h").env)
    assert env == {
        "PATH": "/image/bin",
        "HOSTNAME": "h",
        "TERM": "xterm",
        "A": "image",
        "B": "mine",
        "C": "=",
    }


def test_user_folder_and_signal_come_from_the_image_unless_they_are_given() -> None:
    plain = merged(CONFIG, IMAGE, hostname="h")
    assert (plain.user, plain.cwd, plain.stop_signal) == ("www-data", "/srv", "SIGQUIT")
    given = replace(CONFIG, security=Security(user="0"), working_dir="/x", stop_signal="int")
    changed = merged(given, IMAGE, hostname="h")
    assert (changed.user, changed.cwd, changed.stop_signal) == ("0", "/x", "SIGINT")


def test_an_image_volume_under_a_mount_of_the_containers_is_no_volume() -> None:
    config = replace(CONFIG, mounts=(Mount("/cache", "/host"),))
    assert merged(config, IMAGE, hostname="h").volumes == ("/data",)


@pytest.mark.parametrize(
    "config",
    [
        replace(CONFIG, working_dir="relative"),
        replace(CONFIG, env=(("A=B", "x"),)),
        replace(CONFIG, env=(("", "x"),)),
        replace(CONFIG, args=("a\0b",)),
        replace(CONFIG, command=("",)),
        replace(CONFIG, stop_signal="SIGNOTHING"),
    ],
)
def test_what_cannot_be_run_is_refused_with_the_containers_name(config: ContainerConfig) -> None:
    with pytest.raises(InvalidInput):
        merged(config, IMAGE, hostname="h")


def test_nothing_to_run_is_refused() -> None:
    with pytest.raises(InvalidInput, match="names no program"):
        merged(CONFIG, ImageConfig("linux", "amd64"), hostname="h")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("TERM", "SIGTERM"),
        ("sigusr1", "SIGUSR1"),
        ("9", "SIGKILL"),
        ("SIGRTMIN+3", "37"),
        ("RTMIN", "SIGRTMIN"),
    ],
)
def test_signals_are_read_in_every_spelling(text: str, expected: str) -> None:
    assert stop_signal(text) == expected
