"""`orlop run`. Its time until the first line of output is measured (docs/benchmarks.md): mind the imports."""

from __future__ import annotations

import argparse
import gc
import os
import sys

from orlop.cli.container import run_options
from orlop.cli.context import Context

TYPE_CHECKING = False  # as typing's
if TYPE_CHECKING:
    from orlop.pod.model import ContainerConfig
    from orlop.pod.run import Running

DESCRIPTION = """What stands behind IMAGE belongs to the container. The image is fetched if it is not here.
The exit code is the container's; 125 where Orlop failed, 126 and 127 where the command cannot be run or is
not found."""
EXAMPLES = (
    "orlop run --rm docker.io/library/busybox echo hello",
    "orlop run --rm -it --network none busybox sh",
    "orlop run -d --name web -p 8080:80 -v ./site:/usr/share/nginx/html:ro --memory 256m nginx",
)
JSON = "with --detach: `id`, `name`."

add_arguments = run_options.add_arguments


def run(context: Context, arguments: argparse.Namespace) -> int:
    name = arguments.name or made_up_name(arguments.image)
    pod = run_options.sandbox(arguments, name)
    config = run_options.container(arguments, name, arguments.image)
    image = present(context, arguments.image, arguments.pull, arguments.platform)
    if image != config.image:
        from dataclasses import replace

        config = replace(config, image=image)
    from orlop.pod.run import run_once

    running = run_once(context.pods, pod, config, attached=not arguments.detach, meanwhile=_import_ahead)
    if arguments.detach:
        _tell(context, running, name)
        return 0
    return _followed(context, running, config)


def _import_ahead() -> None:
    """What the output of the container will need, imported while the runtime still makes it."""
    import signal  # noqa: F401

    import orlop.cli.container.streams  # noqa: F401


def made_up_name(image: str) -> str:
    """`busybox-3fa9c1`: the image's last word and six digits."""
    word = image.partition("@")[0].rpartition("/")[2].partition(":")[0]
    safe = "".join(c if c.isascii() and (c.isalnum() or c in ".-") else "-" for c in word.lower()).strip(".-")
    return f"{safe[:40] or 'container'}-{os.urandom(3).hex()}"


def present(context: Context, image: str, policy: str, platform: str | None = None) -> str:
    """The image is in the store afterwards; returns the name or ID that it has there. Raises NotFound."""
    from orlop.kit.errors import NotFound

    if policy in ("missing", "never"):
        if _stored(context, image, platform):
            return image
        if policy == "never":
            what = f"is not stored here for {platform}" if platform else "is not stored here"
            raise NotFound(f"image {image}", what, hint=f"orlop image pull {image}")
        if platform:
            policy = "always"  # what is here of that name is for another one
    from orlop.cli.image.pull import pull

    return pull(context, image, policy=policy, platform=platform).name


def _stored(context: Context, image: str, platform: str | None) -> bool:
    from orlop.kit.errors import NotFound

    try:
        found = context.store.image(image)
    except NotFound:
        return False
    if platform is None:
        return True
    from orlop.image.platform import Platform

    wanted, config = Platform.parse(platform), context.store.image_config(found.id)
    is_for = Platform.of(config.os, config.architecture, config.variant)
    return (is_for.os, is_for.architecture) == (wanted.os, wanted.architecture) and (
        is_for.variant in wanted.variants
    )


def _tell(context: Context, running: Running, name: str) -> None:
    if context.json:
        from orlop.cli.output import emit

        emit({"id": running.container_id, "name": name})
    else:
        print(running.container_id)


def _followed(context: Context, running: Running, config: ContainerConfig) -> int:
    """Join the streams until the container has ended; its exit code."""
    from orlop.cli.container.streams import OutputClosed, Streams
    from orlop.cli.container.terminal import Detached

    gc.enable()
    pods, identifier = context.pods, running.container_id
    assert running.session is not None
    streams = Streams(
        running.session,
        stdin=config.stdin,
        tty=config.terminal,
        kill=lambda number: send(context, identifier, number),
        resize=lambda columns, lines: pods.engine.resize(identifier, columns, lines),
    )
    try:
        streams.join()
    except Detached:
        running.release()
        print(f"\n{config.name} goes on; come back with: orlop attach {config.name}", file=sys.stderr)
        return 0
    except OutputClosed:
        send(context, identifier, 9)  # as SIGPIPE would have ended a process of this machine
        running.wait()
        if config.remove:
            running.remove()
        raise BrokenPipeError from None
    ended = running.wait()
    if config.remove:
        running.remove()
    else:
        from orlop.pod.stop_sandbox import stop_sandbox

        stop_sandbox(pods, running.sandbox_id)  # its addresses and ports are free; what it wrote stays
    return exit_code(ended.state, ended.exit_code)


def send(context: Context, identifier: str, number: int) -> None:
    """A signal to the container; one that has ended meanwhile needs none."""
    from orlop.kit.errors import OrlopError

    try:
        context.pods.engine.kill(identifier, number)
    except OrlopError:
        return


def exit_code(state: str, code: int) -> int:
    """The container's, 125 where nobody knows it."""
    return code if state == "exited" else 125
