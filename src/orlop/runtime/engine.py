"""`Engine`: the verbs of one container, found again by ID alone. conmon and the OCI runtime do the work.

BUNDLE (state folder, bundles/ID)  config.json, pid, conmon.pid, attach, ctl, oci-log, oom
state folder, exits/ID             the exit code, written by conmon
state folder, runtime/NAME/ID      the OCI runtime's own state
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import threading
import time

from orlop.kit import limits, process
from orlop.kit.errors import Conflict, InvalidInput, NotFound, Unavailable
from orlop.kit.value import dataclass
from orlop.runtime import conmon, errors, exits, handlers, oom, processes, words
from orlop.runtime.exits import Exit
from orlop.runtime.sealed import sealed
from orlop.runtime.signals import signal_number

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from orlop.kit.node import Node
    from orlop.runtime.attach import AttachSession
    from orlop.runtime.cgroups.port import Cgroups, CgroupStats
    from orlop.runtime.exec import ExecResult
    from orlop.runtime.features import Features
    from orlop.runtime.handlers import Handler
    from orlop.runtime.model import ContainerSpec, Process, Resources
    from orlop.runtime.rights import Rights
    from orlop.runtime.spec.build import Machine

_SIGKILL = 9
_REMEMBERED = 4096
_KILLED = 137  # 128 + SIGKILL
CREATED, RUNNING, PAUSED, STOPPED, ABSENT = "created", "running", "paused", "stopped", ""


@dataclass(frozen=True)
class RuntimeSettings:
    """Section [runtime] of the configuration.

    `path` is the OCI runtime: a name to look for, or an absolute path. `handlers` are further ones that a pod
    may ask for, "name=path" each. `log_size` bounds a log that nobody rotates: conmon begins it anew beyond
    that many bytes (0: never). `cgroup_manager` is "cgroupfs" or "systemd". `cdi_spec_dirs` are the folders
    of CDI's device descriptions, the later ones outranking the earlier. `criu` writes checkpoints.
    """

    path: str = "crun"
    conmon: str = "conmon"
    log_size: int = 20 * limits.LOG_SIZE
    cgroup_manager: str = "cgroupfs"
    handlers: tuple[str, ...] = ()
    cdi_spec_dirs: tuple[str, ...] = ("/etc/cdi", "/var/run/cdi")
    criu: str = "criu"


class Engine:
    """Contract: thread-safe; cheap to make; every verb may be asked twice, from any process."""

    def __init__(self, node: Node, settings: RuntimeSettings | None = None) -> None:
        self.node = node
        self.settings = settings or RuntimeSettings()
        self._lock = threading.RLock()
        self._features: dict[str, Features] = {}
        self._handlers: dict[str, Handler] | None = None
        self._programs: dict[str, str] = {}
        self._cgroup_paths: dict[str, str] = {}  # by container; config.json is large and does not change
        self._cgroups: Cgroups | None = None
        self._rights: Rights | None = None

    # What it works with

    @property
    def features(self) -> Features:
        """What the default runtime can do. Raises NotFound where it is not installed."""
        return self.features_of("")

    def features_of(self, handler: str) -> Features:
        """What the runtime of this handler can do. Raises InvalidInput (no such handler), NotFound."""
        program = self.program(self.handler(handler))
        with self._lock:
            if program not in self._features:
                from orlop.runtime.features import features

                self._features[program] = features(program, self.node.in_state("cache"))
            return self._features[program]

    @property
    def handlers(self) -> dict[str, Handler]:
        """All runtimes by the names of their handlers; "" is the default one. Raises InvalidInput."""
        if self._handlers is None:
            self._handlers = handlers.configured(
                self.settings.handlers, self.settings.path, self.node.in_state("runtime")
            )
        return self._handlers

    def handler(self, name: str) -> Handler:
        """Raises InvalidInput where there is none of that name."""
        found = self.handlers.get(name)
        if found is None:
            names = ", ".join(sorted(known for known in self.handlers if known))
            raise InvalidInput(
                f"runtime handler {name[:80]!r}", "is not configured", hint=f"known handlers: {names}"
            )
        return found

    def handler_of(self, identifier: str) -> Handler:
        """The one that the container was made with; the default one for a container that is not here."""
        return handlers.remembered(self.bundle(identifier)) or self.handlers[""]

    def program(self, handler: Handler) -> str:
        """The absolute path of its runtime. Raises NotFound."""
        if handler.program not in self._programs:
            from orlop.runtime.features import find

            self._programs[handler.program] = find(handler.program)
        return self._programs[handler.program]

    @property
    def cgroups(self) -> Cgroups:
        with self._lock:
            if self._cgroups is None:
                from orlop.runtime.cgroups.port import Cgroups

                self._cgroups = Cgroups.for_machine()
            return self._cgroups

    @property
    def rights(self) -> Rights:
        with self._lock:
            if self._rights is None:
                from orlop.runtime.rights import Rights

                self._rights = Rights.own(self.node.in_state("cache"))
            return self._rights

    @property
    def systemd(self) -> bool:
        """Whether systemd makes the cgroups."""
        return self.settings.cgroup_manager == "systemd"

    @property
    def runtime(self) -> str:
        """The default runtime's absolute path. Raises NotFound."""
        return self.program(self.handlers[""])

    @property
    def exits(self) -> str:
        return self.node.in_state("exits")

    def bundle(self, identifier: str) -> str:
        return self.node.in_state("bundles", _plain(identifier))

    # The life of a container

    def create(
        self,
        spec: ContainerSpec,
        bundle: str = "",
        *,
        log_path: str = "",
        log_bound: bool = True,
        stdin_once: bool = False,
        exit_command: tuple[str, ...] = (),
        handler: str = "",
    ) -> int:
        """Create the container with this handler's runtime; returns its PID. Its program runs after `start`.

        `log_bound=False`: somebody else rotates its log, which conmon must never begin anew by itself.
        `exit_command` is run by conmon after the end. Raises InvalidInput, NotFound, CommandNotFound,
        CommandDenied, RuntimeFailed, Unsupported (cgroups), TimedOut. After a failure `delete` clears up.
        """
        from orlop.runtime import paths, subpaths
        from orlop.runtime.spec import build

        chosen, own = self.handler(handler), self.bundle(spec.id)
        bundle = bundle or own
        os.makedirs(bundle, mode=0o700, exist_ok=True)
        if bundle != own and not os.path.lexists(own):
            os.makedirs(os.path.dirname(own), mode=0o700, exist_ok=True)
            os.symlink(bundle, own)
        os.makedirs(self.exits, mode=0o700, exist_ok=True)
        os.makedirs(chosen.root, mode=0o700, exist_ok=True)
        if chosen is not self.handlers[""]:
            handlers.remember(bundle, chosen)
        machine = self._machine(handler)
        if log_path:
            paths.checked_log(log_path)
        order = conmon.Order(
            program=self._conmon(),
            id=spec.id,
            runtime=sealed(self.program(chosen)),
            runtime_args=self.runtime_arguments(chosen, f"{bundle}/oci-log"),
            bundle=bundle,
            exits=self.exits,
            log_path=log_path,
            log_size=self.settings.log_size if log_bound else 0,
            terminal=spec.process.terminal,
            stdin=spec.process.stdin,
            stdin_once=stdin_once,
            systemd=machine.systemd,
            exit_command=exit_command,
        )
        try:
            with conmon.Begun(order, lambda first: self.cgroups.monitor(self.node.identity, first)) as begun:
                config = build.config(spec, machine, subpaths.prepare(bundle, spec))
                with open(f"{bundle}/config.json", "wb") as stream:
                    stream.write(config)
                pid = begun.create()
        except conmon.Refused as refused:
            said = words.last_error(f"{bundle}/oci-log") or str(refused)
            said = said or words.beginning(f"{bundle}/conmon.log")
            raise errors.explained(spec.id, spec.process.args[0], said) from refused
        if self.systemd and (cgroup := self.cgroup_of(spec.id)):
            oom.prepare(bundle, self.cgroups, cgroup)
        with open(f"{bundle}/start", "w", encoding="ascii") as stream:
            stream.write(str(processes.start_time(pid)))
        return pid

    def preview(self, spec: ContainerSpec) -> dict[str, object]:
        """The config.json that `create` would write, as far as it can be said before; raises as it does."""
        from orlop.runtime.spec import build

        whole: dict[str, object] = json.loads(build.config(spec, self._machine(), {}))
        return whole

    def start(self, identifier: str, inherited: tuple[int, ...] = ()) -> None:
        """Let the created program run. Raises NotFound, Conflict (it has ended), RuntimeFailed.

        The runtime keeps the descriptors `inherited` open while it is at it, also if we are killed meanwhile.
        """
        done = self.run_verb("start", identifier, pass_fds=inherited)
        if done.status == 0:
            return
        said = done.stderr.decode(errors="replace").strip()
        state = self.state(identifier)
        if state == RUNNING:
            return
        subject = f"container {identifier[:12]}"
        if state == ABSENT:
            raise NotFound(subject, "was not created", hint="create it first")
        if self.exit_of(identifier) is not None and "exec" not in said.lower():
            raise Conflict(subject, "has ended, and a container runs once", hint="create a new one")
        raise errors.explained(identifier, self._program(identifier), words.last_line(said))

    def kill(self, identifier: str, number: int | str, all: bool = False) -> None:  # noqa: A002 the field's word
        """Send a signal to the container's first process, or to `all`; one that has ended is fine.

        Raises InvalidInput (no such signal), RuntimeFailed.
        """
        code = signal_number(number)
        if code == _SIGKILL and self.systemd:
            oom.mark_killed(self.bundle(identifier))
        cgroup = self.cgroup_of(identifier) if all else ""
        if all and code == _SIGKILL and cgroup:
            self.cgroups.kill(cgroup)
            return
        if not self.has_state(identifier):
            return
        if not self._signalled(identifier, code):
            self._ask_to_signal(identifier, code)
        if all and cgroup:
            for pid in self.cgroups.pids(cgroup):
                if pid != self.pid_of(identifier):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, code)

    def _signalled(self, identifier: str, code: int) -> bool:
        """Signal the first process ourselves; False where it was not written down at its creation."""
        pid, started = self.pid_of(identifier), conmon.number(f"{self.bundle(identifier)}/start")
        if not pid or not started:
            return False
        processes.send(pid, started, code)
        return True

    def _ask_to_signal(self, identifier: str, code: int) -> None:
        done = self.run_verb("kill", identifier, str(code))
        if done.status == 0 or words.is_over(done) or self.exit_of(identifier) is not None:
            return
        if self.state(identifier) in (STOPPED, ABSENT):
            return
        raise errors.RuntimeFailed(
            f"container {identifier[:12]}",
            f"cannot be signalled: {words.last_line(done.stderr.decode(errors='replace'))}",
            hint=f"see: {self.program(self.handler_of(identifier))} state {identifier}",
        )

    def delete(self, identifier: str, force: bool = False) -> None:
        """Nothing of the container is left but its bundle folder; idempotent, half-made ones included.

        Raises Conflict where it runs and `force` is not given, RuntimeFailed where the runtime cannot.
        """
        from orlop.runtime import delete

        delete.delete(self, identifier, force=force)

    def state(self, identifier: str) -> str:
        """ "created", "running", "paused", "stopped" or "" (the runtime does not know it)."""
        if not self.has_state(identifier):
            return ABSENT
        done = self.run_verb("state", identifier)
        if done.status != 0:
            return ABSENT
        try:
            said = json.loads(done.stdout)["status"]
        except (ValueError, KeyError, TypeError) as error:
            raise errors.RuntimeFailed(
                f"container {identifier[:12]}",
                "the runtime's state is no JSON",
                hint="see the runtime's version",
            ) from error
        return {"creating": CREATED, "created": CREATED, "running": RUNNING, "paused": PAUSED}.get(
            said, STOPPED
        )

    def update(self, identifier: str, resources: Resources) -> None:
        """Change limits at once; what is not set stays.

        Raises InvalidInput, Conflict (it has ended, or uses more memory than it is to have), RuntimeFailed.
        """
        from orlop.runtime import update

        update.update(self, identifier, resources)

    def stats(self, identifier: str, *, detail: bool = False) -> CgroupStats:
        """What it uses now; zeros where it has ended. Raises NotFound where it is unknown."""
        from orlop.runtime.cgroups.port import CgroupStats

        self.config_of(identifier)
        cgroup = self.cgroup_of(identifier)
        return self.cgroups.stats(cgroup, detail=detail) if cgroup else CgroupStats()

    def make_group(self, path: str, resources: Resources) -> None:
        """A group of ours for several containers, with these limits; one that is there gets them.

        Raises InvalidInput where the kernel or systemd refuses.
        """
        if self.systemd:
            from orlop.runtime.cgroups import systemd

            systemd.create(self.cgroups, path, resources)
        else:
            self.cgroups.create(path, resources)

    def remove_group(self, path: str) -> None:
        """Take a group of `make_group` away, or one that the runtime made on the way. Raises Conflict."""
        if self.systemd:
            from orlop.runtime.cgroups import systemd

            systemd.remove(self.cgroups, path)
        else:
            self.cgroups.remove(path)

    def pause(self, identifier: str) -> None:
        """Freeze the container; a frozen one is fine."""
        if self.state(identifier) != PAUSED:
            self.ask("pause", identifier)

    def resume(self, identifier: str) -> None:
        """Let a frozen container go on; one that runs is fine."""
        if self.state(identifier) != RUNNING:
            self.ask("resume", identifier)

    # Its end

    def exit_of(self, identifier: str) -> Exit | None:
        """How it ended; None where it has not, or nobody recorded it."""
        found = exits.read(self.exits, _plain(identifier))
        if found is None:
            return None
        code, finished = found
        return Exit(code, finished, code != 0 and self._out_of_memory(identifier, code == _KILLED))

    def wait(self, identifier: str, timeout: float | None = None) -> Exit | None:
        """Wait for its end. None after `timeout` seconds, or where it ended and nobody recorded how."""
        found = self.exit_of(identifier)
        if found is not None:
            return found
        watched = [pid for pid in (self.conmon_pid(identifier), self.pid_of(identifier)) if pid]
        exits.wait(self.exits, identifier, watched, timeout)
        return self.exit_of(identifier)

    def exit_fd(self) -> int:
        """A descriptor that is readable when any container of this node has ended (`exits.watch`)."""
        return exits.watch(self.exits)

    # Other processes in it, and its streams

    def exec_sync(
        self,
        identifier: str,
        process: Process,
        *,
        timeout: float | None = None,
        stdin: bytes = b"",
        **options: object,
    ) -> ExecResult:
        """See exec.exec_sync."""
        from orlop.runtime import exec as exec_

        return exec_.exec_sync(self, identifier, process, timeout=timeout, stdin=stdin, **options)  # type: ignore[arg-type]

    def exec_attached(
        self,
        identifier: str,
        process: Process,
        stdin_fd: int | None,
        stdout_fd: int,
        stderr_fd: int,
        tty: bool = False,
        *,
        user: str = "",
    ) -> int:
        """See exec.exec_attached."""
        from orlop.runtime import exec as exec_

        return exec_.exec_attached(
            self, identifier, process, stdin_fd, stdout_fd, stderr_fd, tty=tty, user=user
        )

    def attach(self, identifier: str) -> AttachSession:
        """A session with its streams from now on. Raises Conflict where it does not run."""
        from orlop.runtime.attach import AttachSession

        return AttachSession(self.bundle(identifier), f"container {identifier[:12]}")

    def resize(self, identifier: str, width: int, height: int) -> None:
        """Tell its terminal its size in characters; one that has ended is fine."""
        if not (0 < width <= 65_535 and 0 < height <= 65_535):
            raise InvalidInput("terminal size", f"{width} x {height}", hint="give 1 to 65535 characters")
        conmon.tell(self.bundle(identifier), conmon.RESIZE, height, width)

    def reopen_log(self, identifier: str, log_path: str = "") -> None:
        """conmon goes on in a new file at the log's path; with `log_path`, returns once it does.

        A file that nobody moved away is kept: conmon would begin it anew. Raises Unavailable where conmon
        does not answer.
        """
        pid = self.conmon_pid(identifier)
        if not pid or (log_path and conmon.has_open(pid, log_path)):
            return  # it has ended, and nothing is written any more; or it writes there already
        if not conmon.tell(self.bundle(identifier), conmon.REOPEN) or not log_path:
            return
        deadline = time.monotonic() + limits.EXIT_RECORD
        while not conmon.has_open(pid, log_path) and self.conmon_pid(identifier):
            if time.monotonic() > deadline:
                raise Unavailable(
                    f"container {identifier[:12]}",
                    "conmon does not reopen its log",
                    hint="see its conmon.log",
                )
            select.select((), (), (), 0.001)

    def rotate_log(self, identifier: str, log_path: str, max_files: int = limits.LOG_FILES) -> None:
        """Begin the log anew and keep `max_files` of them, this one included."""
        from orlop.runtime import logs

        logs.rotate(log_path, max_files, reopen=lambda: self.reopen_log(identifier, log_path))

    # Found again by ID

    def conmon_pid(self, identifier: str) -> int:
        """0 where its conmon has ended."""
        return conmon.pid_of(self.bundle(identifier), identifier)

    def pid_of(self, identifier: str) -> int:
        """Of its first process, as it was written down at its creation; 0 where it was not."""
        return conmon.number(f"{self.bundle(identifier)}/pid")

    def config_of(self, identifier: str) -> dict[str, object]:
        """Its config.json. Raises NotFound."""
        try:
            with open(f"{self.bundle(identifier)}/config.json", "rb") as stream:
                found = json.loads(stream.read())
        except (OSError, ValueError) as error:
            raise NotFound(
                f"container {identifier[:12]}", "has no configuration here", hint="see: orlop ps --all"
            ) from error
        assert isinstance(found, dict)
        return found

    def cgroup_of(self, identifier: str) -> str:
        """The kernel's path of its cgroup; "" where it is not known (any more)."""
        known = self._cgroup_paths.get(identifier)
        if known is None:
            known = self._configured_cgroup(identifier)
            if known:
                if len(self._cgroup_paths) > _REMEMBERED:
                    self._cgroup_paths.clear()
                self._cgroup_paths[identifier] = known
        return known

    def _configured_cgroup(self, identifier: str) -> str:
        try:
            part = self.config_of(identifier)["linux"]
        except (NotFound, KeyError):
            return ""
        path = part.get("cgroupsPath") if isinstance(part, dict) else None
        if not isinstance(path, str):
            return ""
        if path.startswith("/"):
            return path
        from orlop.runtime.cgroups import slices

        return slices.from_runtime(path)

    # Within the package

    def _machine(self, handler: str = "") -> Machine:
        from orlop.runtime.spec.build import Machine

        return Machine(
            features=self.features_of(handler),
            rights=self.rights,
            unified=self.cgroups.unified,
            cache=self.node.in_state("cache"),
            systemd=self.systemd,
            swap=self.cgroups.swap,
            huge_pages=self.cgroups.huge_pages,
        )

    def run_verb(
        self,
        verb: str,
        identifier: str,
        *more: str,
        stdin: bytes = b"",
        pass_fds: tuple[int, ...] = (),
    ) -> process.Completed:
        options = tuple(word for word in more if verb == "update" or word.startswith("--"))
        values = more[len(options) :]
        argv = [*self.command(identifier), verb, *options, _plain(identifier), *values]
        return process.run(argv, timeout=limits.RUNTIME_TIMEOUT, check=False, stdin=stdin, pass_fds=pass_fds)

    def ask(self, verb: str, identifier: str, *more: str, stdin: bytes = b"") -> None:
        done = self.run_verb(verb, identifier, *more, stdin=stdin)
        if done.status == 0:
            return
        subject = f"container {identifier[:12]}"
        said = words.last_line(done.stderr.decode(errors="replace"))
        if self.state(identifier) in (STOPPED, ABSENT):
            raise Conflict(subject, f"does not run: {said}", hint="start it first")
        raise errors.RuntimeFailed(subject, f"{verb}: {said}", hint="see the runtime's words")

    def command(self, identifier: str, log: str = "") -> list[str]:
        """The container's runtime and its global options, to be followed by a verb."""
        handler = self.handler_of(identifier)
        return [sealed(self.program(handler)), *self.runtime_arguments(handler, log)]

    def runtime_arguments(self, handler: Handler, log: str) -> tuple[str, ...]:
        line: tuple[str, ...] = ("--root", handler.root)
        if log:
            line += ("--log", log, "--log-format", "json")
        return (*line, "--systemd-cgroup") if self.systemd else line

    def _conmon(self) -> str:
        program = self.settings.conmon
        if os.path.isabs(program):
            return program
        for folder in (*process.MINIMAL_ENV["PATH"].split(":"), "/usr/libexec/podman"):
            if os.access(f"{folder}/{program}", os.X_OK):
                return f"{folder}/{program}"
        raise NotFound("conmon", "is not installed", hint="install the package conmon")

    def has_state(self, identifier: str) -> bool:
        return os.path.exists(self.state_folder(identifier))

    def state_folder(self, identifier: str) -> str:
        """Where the container's runtime keeps its state."""
        return os.path.join(self.handler_of(identifier).root, _plain(identifier))

    def _program(self, identifier: str) -> str:
        try:
            part = self.config_of(identifier)["process"]
        except (NotFound, KeyError):
            return "its program"
        return str(part["args"][0]) if isinstance(part, dict) else "its program"

    def _out_of_memory(self, identifier: str, killed: bool) -> bool:
        cgroup = self.cgroup_of(identifier)
        bundle = self.bundle(identifier)
        return oom.happened(bundle, self.cgroups, cgroup, systemd=self.systemd, killed=killed)


def _plain(identifier: str) -> str:
    """IDs become names of files: nothing else may come in that way."""
    if not identifier or "/" in identifier or identifier.startswith((".", "-")) or "\0" in identifier:
        raise InvalidInput(f"container {identifier!r}", "is no container ID", hint="see: orlop ps --all")
    return identifier
