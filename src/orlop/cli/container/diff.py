"""`orlop diff`."""

from __future__ import annotations

import argparse

from orlop.cli.context import Context
from orlop.cli.image.diff import JSON as IMAGE_JSON
from orlop.cli.image.diff import show
from orlop.cli.parser import Parser

TYPE_CHECKING = False  # as typing's
if TYPE_CHECKING:
    from orlop.store.diff import Difference

DESCRIPTION = """A is added, C changed, D deleted. What the runtime puts there to mount on is left out."""
EXAMPLES = ("orlop diff web", "orlop diff web/nginx --output json")
JSON = IMAGE_JSON
#: Where the runtime makes folders and empty files, to mount what a container is given.
_MOUNTED_ON = frozenset(
    ("/dev", "/etc", "/etc/hostname", "/etc/hosts", "/etc/resolv.conf", "/proc", "/run", "/sys")
)


def add_arguments(parser: Parser) -> None:
    parser.add_argument("container", metavar="CONTAINER", help="POD/CONTAINER, POD with only one, or an ID")


def run(context: Context, arguments: argparse.Namespace) -> int:
    container = context.pods.container(arguments.container)
    return show(context, [one for one in context.store.diff_rootfs(container.id) if not _is_ours(one)])


def _is_ours(one: Difference) -> bool:
    return one.change == "added" and one.path in _MOUNTED_ON and not one.size
