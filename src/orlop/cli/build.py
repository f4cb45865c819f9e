"""`orlop build`."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading

from orlop.cli.context import Context
from orlop.cli.output import emit
from orlop.cli.parser import Parser

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from orlop.build.model import Built, Options
    from orlop.runtime.model import Resources

DESCRIPTION = """Builds an image from a Containerfile and prints its ID. CONTEXT is the folder (or an archive,
or - for standard input) that COPY and ADD take files from. Stages that do not need each other are built at
the same time; steps whose instruction, arguments and files are as they were come from the cache. With
SOURCE_DATE_EPOCH in the environment the same input gives the same digests on any machine."""
EXAMPLES = (
    "orlop build -t app .",
    "orlop build -f deploy/Containerfile --target test --build-arg VERSION=2.1 .",
    "orlop build --secret id=token,src=token.txt --cache-from docker://registry.example.org/cache -t app:2 .",
)
JSON = """an object: `id`, `digest`, `names`, `steps`, `cached`."""


def add_arguments(parser: Parser) -> None:
    add = parser.add_argument
    add("context", metavar="CONTEXT", nargs="?", default=".", help="a folder, an archive, or - (default: .)")
    add("-f", "--file", metavar="FILE", default="", help="the Containerfile (default: CONTEXT/Containerfile)")
    add("-t", "--tag", metavar="NAME", action="append", default=[], help="a name for the image; repeatable")
    add("--target", metavar="STAGE", default="", help="stop at this stage (default: the last)")
    add("--build-arg", metavar="NAME[=VALUE]", action="append", default=[], help="without value: from here")
    add("--secret", metavar="id=ID[,src=FILE|env=NAME]", action="append", default=[], help="for RUN --mount")
    add("--build-context", metavar="NAME=PATH", action="append", default=[], help="for COPY --from=NAME")
    add("--platform", metavar="OS/ARCH[/VARIANT]", action="append", default=[], help="another than this")
    add("--pull", choices=("always", "missing", "newer", "never"), default="missing",
        help="when to ask the registry for base images")  # fmt: skip
    add("--no-cache", action="store_true", help="carry out every step")
    add("--cache-from", metavar="docker://REPO", action="append", default=[], help="look for steps here too")
    add("--cache-to", metavar="docker://REPO", default="", help="export the steps of this build")
    add("--network", choices=("default", "none", "host"), default="default", help="of RUN")
    add("--add-host", metavar="NAME:ADDRESS", action="append", default=[], help="for RUN's /etc/hosts")
    add("--allow", metavar="ENTITLEMENT", action="append", default=[], help="security.insecure")
    add("--memory", metavar="SIZE", default="", help="limit of each RUN")
    add("--cpus", metavar="NUMBER", default="", help="limit of each RUN")
    add("--label", metavar="NAME=VALUE", action="append", default=[], help="of the image")
    add("--annotation", metavar="NAME=VALUE", action="append", default=[], help="of its manifest")
    add("--env", metavar="NAME=VALUE", action="append", default=[], help="of the image")
    add("--format", choices=("oci", "docker"), default="oci", help="of manifest and config")
    add("--timestamp", metavar="SECONDS", type=int, help="every time in the image, since the epoch")
    add("--ignorefile", metavar="FILE", default="", help="instead of CONTEXT/.containerignore")
    add("--iidfile", metavar="FILE", default="", help="write the image's ID here")
    add(
        *("--output", "-o"),
        metavar="table|json|type=local,dest=DIR|type=tar,dest=FILE",
        default="table",
        help="how the answer is printed, or where the image's files are written as well",
    )
    add("--jobs", metavar="COUNT", type=int, default=0, help="steps at the same time")
    add("--progress", choices=("auto", "plain"), default="auto", help="how progress is shown")
    add("-q", "--quiet", action="store_true", help="only the ID")


def run(context: Context, arguments: argparse.Namespace) -> int:
    from orlop.build.build import build
    from orlop.build.errors import StepFailed
    from orlop.cli.container.run import present

    asked = options(arguments)
    if arguments.output not in ("table", "json"):
        from orlop.build.output import parsed

        parsed(arguments.output)  # before the work
    _ = context.pods  # takes away what a build that was killed has left

    class Bases:
        def base(self, name: str, platform: str) -> str:
            from orlop.build.bootstrap import or_bootstrapped

            def fetch() -> str:
                from orlop.image.settings import ImageSettings
                from orlop.store.admit import admit_by_policy

                found = present(context, name, arguments.pull, platform or None)
                policy = context.config.section("image", ImageSettings).policy
                return admit_by_policy(context.store, found, policy).id

            return or_bootstrapped(context.store, name, platform, fetch, report.note)

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends as ^C does: with nothing left behind
    report = Shown(quiet=arguments.quiet)
    remote = None
    if arguments.cache_from:
        from orlop.build.remote_cache import Imported

        remote = Imported(context.store, arguments.cache_from, report.note)
    try:
        built = build(context.node, context.config, asked, images=Bases(), report=report, remote=remote)
    except StepFailed as error:
        if arguments.quiet and error.output:
            sys.stderr.write(error.output)
        raise
    finally:
        if remote is not None:
            remote.close()
    if arguments.cache_to:
        from orlop.build.remote_cache import export

        report.note(f"exporting the cache to {arguments.cache_to}")
        export(context.store, arguments.cache_to, built.done, note=report.note)
    _deliver(context, arguments, built)
    return 0


def _deliver(context: Context, arguments: argparse.Namespace, built: Built) -> None:
    if arguments.output not in ("table", "json"):
        from orlop.build.output import write

        write(context.store, built.id, arguments.output)
    if arguments.iidfile:
        from orlop.kit.files import write_atomic

        write_atomic(os.path.abspath(arguments.iidfile), built.id.encode())
    if context.json:
        emit({key: getattr(built, key) for key in ("id", "digest", "names", "steps", "cached")})
    elif not arguments.output.endswith("dest=-") and arguments.output != "-":
        print(built.id, flush=True)


def options(arguments: argparse.Namespace) -> Options:
    """The library's options for the command line's. Raises InvalidInput."""
    from orlop.build.model import Options
    from orlop.kit.errors import InvalidInput, Unsupported

    platforms = ",".join(arguments.platform).split(",")
    if len(platforms) > 1:
        raise Unsupported(
            "--platform", "names more than one platform", hint="build one after the other, and push an index"
        )
    epoch = os.environ.get("SOURCE_DATE_EPOCH", "")
    build_args = {}
    for text in arguments.build_arg:
        name, equals, value = text.partition("=")
        if equals:
            build_args[name] = value
        elif name in os.environ:
            build_args[name] = os.environ[name]
    epoch = build_args.get("SOURCE_DATE_EPOCH", epoch)
    if epoch and not (epoch.isascii() and epoch.isdigit() and len(epoch) < 12):
        raise InvalidInput("SOURCE_DATE_EPOCH", f"{epoch[:40]!r} is no number of seconds", hint="correct it")
    if epoch:
        build_args["SOURCE_DATE_EPOCH"] = epoch  # for whoever declares it
    return Options(
        context=arguments.context,
        file=arguments.file,
        names=tuple(arguments.tag),
        target=arguments.target,
        platform=platforms[0],
        build_args=build_args,
        secrets=dict(_secret(text) for text in arguments.secret),
        contexts=_pairs(arguments.build_context, "--build-context"),
        labels=_pairs(arguments.label, "--label"),
        annotations=_pairs(arguments.annotation, "--annotation"),
        environment=_pairs(arguments.env, "--env"),
        add_hosts=tuple(_host(text) for text in arguments.add_host),
        allow=tuple(arguments.allow),
        network=arguments.network,
        resources=_resources(arguments),
        ignore_file=arguments.ignorefile,
        no_cache=arguments.no_cache,
        format=arguments.format,
        timestamp=arguments.timestamp,
        epoch=int(epoch) if epoch else None,
        jobs=max(0, arguments.jobs),
    )


def _pairs(texts: list[str], option: str) -> dict[str, str]:
    from orlop.kit.errors import InvalidInput

    found = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not name or not equals:
            raise InvalidInput(f"{option} {text}", "is not NAME=VALUE", hint=f"write {option} NAME=VALUE")
        found[name] = value
    return found


def _secret(text: str) -> tuple[str, Callable[[], bytes]]:
    from orlop.kit import limits
    from orlop.kit.errors import InvalidInput, NotFound
    from orlop.kit.files import read_bounded

    fields = dict(part.partition("=")[::2] for part in text.split(","))
    fields = {{"source": "src", "target": "id"}.get(key, key): value for key, value in fields.items()}
    identifier = fields.get("id", "")
    if not identifier or set(fields) - {"id", "src", "env", "type"}:
        raise InvalidInput(
            f"--secret {text}", "is not id=ID,src=FILE or id=ID,env=NAME", hint="write it as one of these"
        )
    kind = fields.get("type") or ("env" if "env" in fields or identifier in os.environ else "file")
    if "src" in fields and kind != "env":
        path = os.path.abspath(os.path.expanduser(fields["src"]))

        def read() -> bytes:
            try:
                return read_bounded(path, limits.SECRET_SIZE)
            except OSError as error:
                raise NotFound(
                    f"secret {identifier}", f"{path}: {error.strerror}", hint="name a file that is there"
                ) from error

        return identifier, read
    variable = fields.get("env") or fields.get("src") or identifier
    if variable not in os.environ:
        raise NotFound(
            f"secret {identifier}", f"{variable} is not in the environment", hint="set it, or src=FILE"
        )
    value = os.environb[os.fsencode(variable)]
    return identifier, lambda: value


def _host(text: str) -> tuple[str, tuple[str, ...]]:
    from orlop.kit.errors import InvalidInput

    name, separator, address = text.partition("=" if "=" in text else ":")
    if not name or not separator or not address:
        raise InvalidInput(f"--add-host {text}", "is not NAME:ADDRESS", hint="such as db:192.0.2.7")
    return address.strip("[]"), (name,)


def _resources(arguments: argparse.Namespace) -> Resources:
    from orlop.cli.container import values
    from orlop.runtime.model import Resources

    return Resources(
        memory_limit=values.size("--memory", arguments.memory) if arguments.memory else 0,
        cpu_limit=values.cpus(arguments.cpus) if arguments.cpus else 0,
    )


class Shown:
    """A build's progress on standard error: a line for each step, its command's output under it."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._lock = threading.Lock()
        self._speaks = ""
        self._at_start = True

    def step(self, step: str, text: str) -> None:
        self._line(f"[{step}] {text}")

    def cached(self, step: str, text: str) -> None:
        self._line(f"[{step}] {text} (cached)")

    def note(self, text: str) -> None:
        self._line(text)

    def output(self, step: str, data: bytes) -> None:
        if self._quiet:
            return
        with self._lock:
            if self._speaks != step:
                self._fresh()
                if self._speaks:
                    self._write(f"[{step}] ...\n".encode())
                self._speaks = step
            self._write(data)
            self._at_start = data.endswith(b"\n")

    def _line(self, text: str) -> None:
        from orlop.cli.output import printable

        if self._quiet:
            return
        with self._lock:
            self._fresh()
            self._speaks = text.partition("]")[0][1:]
            self._write(f"{printable(text)}\n".encode())

    def _fresh(self) -> None:
        if not self._at_start:
            self._write(b"\n")
            self._at_start = True

    def _write(self, data: bytes) -> None:
        sys.stderr.buffer.write(data)
        sys.stderr.buffer.flush()
