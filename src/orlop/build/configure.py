"""Instructions that change the image's config alone."""

from __future__ import annotations

import posixpath
from typing import Any

from orlop.build.containerfile import model
from orlop.build.document import Document
from orlop.build.errors import wrong

DEFAULT_SHELL = ("/bin/sh", "-c")


class Configuring:
    """The config of a stage as its instructions change it. `shell` is the stage's SHELL."""

    def __init__(self, document: Document) -> None:
        self.document = document
        shell = document.run.get("Shell")
        self.shell: tuple[str, ...] = tuple(shell) if shell else DEFAULT_SHELL
        self._cmd_is_ours = False

    @property
    def user(self) -> str:
        return str(self.document.run.get("User") or "")

    @property
    def workdir(self) -> str:
        return str(self.document.run.get("WorkingDir") or "/")

    def copy(self) -> Configuring:
        """For a stage that starts from this one: what was its own is inherited there."""
        return Configuring(self.document.copy())

    def apply(self, instruction: model.Instruction) -> None:
        """Carry out an expanded instruction. Raises InvalidInput."""
        getattr(self, f"_{type(instruction).__name__.lower()}")(instruction)

    def set_environment(self, environment: dict[str, str]) -> None:
        self.document.run["Env"] = [f"{name}={value}" for name, value in environment.items()]

    def _label(self, instruction: model.Label) -> None:
        self.document.run["Labels"] = {**(self.document.run.get("Labels") or {}), **dict(instruction.pairs)}

    def _user(self, instruction: model.User) -> None:
        self.document.run["User"] = instruction.user

    def _workdir(self, instruction: model.Workdir) -> None:
        path = posixpath.normpath(posixpath.join(self.workdir, instruction.path))
        self.document.run["WorkingDir"] = "/" + path.lstrip("/")

    def _volume(self, instruction: model.Volume) -> None:
        volumes = self.document.run.get("Volumes") or {}
        self.document.run["Volumes"] = {**volumes, **{path: {} for path in instruction.paths}}

    def _expose(self, instruction: model.Expose) -> None:
        ports = self.document.run.get("ExposedPorts") or {}
        self.document.run["ExposedPorts"] = {**ports, **{port: {} for port in instruction.ports}}

    def _entrypoint(self, instruction: model.Entrypoint) -> None:
        self.document.run["Entrypoint"] = list(instruction.command.argv(self.shell))
        if not self._cmd_is_ours:  # an inherited CMD was meant for the inherited ENTRYPOINT
            self.document.run.pop("Cmd", None)

    def _cmd(self, instruction: model.Cmd) -> None:
        self.document.run["Cmd"] = list(instruction.command.argv(self.shell))
        self._cmd_is_ours = True

    def _shell(self, instruction: model.Shell) -> None:
        if not instruction.words:
            raise wrong(instruction.place, "SHELL names no program", 'write it as SHELL ["/bin/sh", "-c"]')
        self.shell = instruction.words
        self.document.run["Shell"] = list(instruction.words)

    def _stopsignal(self, instruction: model.Stopsignal) -> None:
        from orlop.pod.merge import stop_signal

        stop_signal(instruction.signal)  # refuses what is none
        self.document.run["StopSignal"] = instruction.signal

    def _healthcheck(self, instruction: model.Healthcheck) -> None:
        check: dict[str, Any] = {"Test": list(instruction.test)}
        for name, value in (
            ("Interval", instruction.interval),
            ("Timeout", instruction.timeout),
            ("StartPeriod", instruction.start_period),
            ("StartInterval", instruction.start_interval),
            ("Retries", instruction.retries),
        ):
            if value:
                check[name] = value
        self.document.run["Healthcheck"] = check

    def _onbuild(self, instruction: model.Onbuild) -> None:
        triggers = self.document.run.get("OnBuild") or []
        self.document.run["OnBuild"] = [*triggers, instruction.expression]

    def _maintainer(self, instruction: model.Maintainer) -> None:
        self.document.whole["author"] = instruction.name
