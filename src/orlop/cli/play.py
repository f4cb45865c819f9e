"""`orlop play`."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence

from orlop.cli.context import Context
from orlop.cli.output import emit, stamp, table
from orlop.cli.parser import Parser

TYPE_CHECKING = False  # as typing's
if TYPE_CHECKING:
    from orlop.plan.model import Plan
    from orlop.system.status import PodStatus

DESCRIPTION = """Pods, Deployments, ConfigMaps, Secrets and PersistentVolumeClaims; docs/play.md says which
fields. The same file again applies the difference, and nothing where there is none. A supervisor keeps what
is declared; it is started if none runs. Without --wait, pods that are not ready within 30 seconds are a
warning; with it, they are an error."""
EXAMPLES = (
    "orlop play web.yaml",
    "orlop play --plan web.yaml",
    "orlop play --wait 120 --output json -",
    "orlop play --down --volumes web.yaml",
)
JSON = """`plan` (`steps`, each `id`, `action`, `key`, `reason`, `after`; and `counts`), `warnings`, `ready`,
`pods` (each `name`, `namespace`, `uid`, `phase`, `ready`, `restarts`, `ip`, `reason`, `message`, `owner`,
`source`, `containers`); with --down `plan` and `kept` (claims)."""

_PATIENCE = 30.0  # seconds where --wait was not given


def add_arguments(parser: Parser) -> None:
    add = parser.add_argument
    add(
        "file",
        metavar="FILE",
        nargs="?",
        help="Kubernetes YAML, several documents if you like; - is standard input",
    )
    add("--down", action="store_true", help="take away what the file declares")
    add("--all", action="store_true", help="with --down: everything that was played")
    add("--volumes", action="store_true", help="with --down: the claims' data, too")
    add("--plan", action="store_true", help="only say what would be done")
    add("--replace", action="store_true", help="replace pods that do not differ, too")
    add(
        "--wait",
        metavar="SECONDS",
        type=float,
        help="until the pods are ready or have succeeded; 0: do not wait",
    )


def run(context: Context, arguments: argparse.Namespace) -> int:
    from orlop.kit.errors import InvalidInput

    if arguments.file is None and not (arguments.down and arguments.all):
        raise InvalidInput("orlop play", "needs a file", hint="such as: orlop play web.yaml, or --down --all")
    if (arguments.all or arguments.volumes) and not arguments.down:
        raise InvalidInput("orlop play", "--all and --volumes belong to --down", hint="add --down")
    if arguments.wait is not None and not 0 <= arguments.wait < 1e6:
        raise InvalidInput(f"--wait {arguments.wait}", "is no time to wait", hint="give seconds, such as 60")
    text = b"" if arguments.file is None else _read(arguments.file)
    return asyncio.run(_down(context, arguments, text) if arguments.down else _play(context, arguments, text))


async def _play(context: Context, arguments: argparse.Namespace, text: bytes) -> int:
    from orlop.cli.progress import shown
    from orlop.system.play import play

    with shown(quiet=context.json) as progress:
        result = await play(
            context.node,
            context.config,
            text,
            source=arguments.file,
            replace=arguments.replace,
            plan_only=arguments.plan,
            wait=0,
            progress=progress,
        )
    for warning in result.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    if not context.json:
        _show(result.plan)
    pods: Sequence[PodStatus] = result.pods
    if not arguments.plan and arguments.wait != 0:
        gone = [step.key for step in result.plan.steps if step.action == "remove"]
        pods = await _waited(context, [pod.key for pod in pods], gone, arguments.wait)
    if context.json:
        from orlop.plan.render import as_json

        ready = all(pod.settled for pod in pods)
        told = [pod_json(pod) for pod in pods]
        emit({"plan": as_json(result.plan), "pods": told, "ready": ready, "warnings": result.warnings})
    elif not arguments.plan:
        _table(pods)
    return 0


async def _waited(
    context: Context, keys: Sequence[str], gone: Sequence[str], limit: float | None
) -> Sequence[PodStatus]:
    """The pods when they are ready; without a limit of the user's, what is not ready is a warning."""
    from orlop.kit.tasks import in_thread
    from orlop.system.explain import PodsFailed, PodsNotReady
    from orlop.system.records import Records
    from orlop.system.wait import until_ready

    records = await in_thread(Records, context.node)
    patience = _PATIENCE if limit is None else limit
    try:
        return await until_ready(context.node, context.config, records, keys, gone=gone, limit=patience)
    except (PodsFailed, PodsNotReady) as error:
        if limit is not None:
            raise
        print(f"warning: {error}\nhint: {error.hint}", file=sys.stderr)
        return await until_ready(context.node, context.config, records, keys, gone=(), limit=0)


async def _down(context: Context, arguments: argparse.Namespace, text: bytes) -> int:
    from orlop.system.play_down import play_down

    result = await play_down(
        context.node,
        None if arguments.all else text,
        source=arguments.file or "-",
        everything=arguments.all,
        volumes=arguments.volumes,
        wait=arguments.wait,
    )
    if context.json:
        from orlop.plan.render import as_json

        emit({"plan": as_json(result.plan), "kept": result.kept})
        return 0
    _show(result.plan)
    for claim in result.kept:
        print(f"{claim} keeps its data (--volumes removes it)")
    return 0


def _read(path: str) -> bytes:
    from orlop.kit import limits
    from orlop.kit.errors import LimitExceeded
    from orlop.kit.files import read_bounded

    if path != "-":
        return read_bounded(path, limits.YAML_SIZE)
    text = sys.stdin.buffer.read(limits.YAML_SIZE + 1)
    if len(text) > limits.YAML_SIZE:
        raise LimitExceeded(
            "standard input", f"is longer than {limits.YAML_SIZE} bytes", hint="play it in parts"
        )
    return text


def _show(plan: Plan) -> None:
    from orlop.plan.render import lines

    print("\n".join(lines(plan)), flush=True)


def _table(pods: Sequence[PodStatus]) -> None:
    if not pods:
        return
    print()
    rows = [
        (
            pod.name,
            f"{pod.phase} ({pod.reason})" if pod.reason else pod.phase,
            f"{sum(c.ready for c in pod.containers if c.kind != 'init')}/{_kept(pod)}",
            str(pod.restarts),
            pod.ip or "-",
        )
        for pod in pods
    ]
    table(("POD", "STATUS", "READY", "RESTARTS", "ADDRESS"), rows)


def _kept(pod: PodStatus) -> int:
    return sum(container.kind != "init" for container in pod.containers)


def pod_json(pod: PodStatus) -> dict[str, object]:
    """A declared pod as programs see it; also part of what `pod list` says."""
    containers = [
        {**vars(container), "started": stamp(container.started), "finished": stamp(container.finished)}
        for container in pod.containers
    ]
    return {**vars(pod), "declared": stamp(pod.declared), "containers": containers}
