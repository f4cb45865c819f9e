"""Which variables a line sees: the base's environment, ENV, ARG, and what the command line gave.

ENV always wins over an ARG of the same name, whichever comes first (Dockerfile reference, "Using ARG
variables"). An ARG without a default takes the value of the global one of its name.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from orlop.build.containerfile.errors import BadContainerfile
from orlop.build.containerfile.expand import expanded, word
from orlop.build.containerfile.model import Arg, Containerfile, Env, Onbuild
from orlop.kit.errors import InvalidInput, LimitExceeded

#: Build arguments that RUN sees in its environment without an ARG, and that are no part of cache keys.
PROXY_ARGS = (
    "HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "FTP_PROXY", "ftp_proxy", "NO_PROXY",
    "no_proxy", "ALL_PROXY", "all_proxy",
)  # fmt: skip

_PLATFORM_ARGS = (
    "BUILDPLATFORM", "BUILDOS", "BUILDOSVERSION", "BUILDARCH", "BUILDVARIANT", "TARGETPLATFORM", "TARGETOS",
    "TARGETOSVERSION", "TARGETARCH", "TARGETVARIANT", "TARGETSTAGE",
)  # fmt: skip
#: Read by the builder itself, declared or not.
_OWN_ARGS = ("SOURCE_DATE_EPOCH",)


def platform_args(build: str, target: str, stage: str = "") -> dict[str, str]:
    """BUILDPLATFORM, TARGETOS, ... of "linux/arm/v7"-like texts, and TARGETSTAGE (`stage` or "default")."""
    found: dict[str, str] = {}
    for prefix, text in (("BUILD", build), ("TARGET", target)):
        system, architecture, variant = (*text.split("/"), "", "")[:3]
        found[f"{prefix}PLATFORM"] = text
        found[f"{prefix}OS"] = system
        found[f"{prefix}OSVERSION"] = ""
        found[f"{prefix}ARCH"] = architecture
        found[f"{prefix}VARIANT"] = variant
    found["TARGETSTAGE"] = stage or "default"
    return found


def globals_of(
    parsed: Containerfile, build_args: Mapping[str, str], predefined: Mapping[str, str]
) -> dict[str, str]:
    """The variables that FROM lines see: `predefined` (platform_args) and the ARGs before the first FROM.

    Raises BadContainerfile.
    """
    known = {name: build_args.get(name, value) for name, value in predefined.items()}
    for instruction in parsed.arguments:
        for name, default in instruction.pairs:
            if name in build_args:
                known[name] = build_args[name]
            elif default is not None:
                known[name] = _value(default, known, parsed.escape, instruction)
    return known


def unused_build_args(parsed: Containerfile, build_args: Mapping[str, str]) -> list[str]:
    """Names given on the command line that no ARG declares and that are not predefined: worth a warning."""
    declared = {*PROXY_ARGS, *_PLATFORM_ARGS, *_OWN_ARGS}
    for instruction in (*parsed.arguments, *(one for stage in parsed.stages for one in stage.instructions)):
        if isinstance(instruction, Arg):
            declared |= {name for name, _ in instruction.pairs}
        elif isinstance(instruction, Onbuild) and instruction.expression.upper().startswith("ARG"):
            declared |= {piece.partition("=")[0] for piece in instruction.expression.split()[1:]}
    return sorted(set(build_args) - declared)


class Scope:
    """What the instructions of one stage see, from its base on. Not for several threads."""

    def __init__(
        self,
        environment: Mapping[str, str],
        *,
        global_args: Mapping[str, str],
        build_args: Mapping[str, str],
        escape: str = "\\",
    ) -> None:
        self._environment = dict(environment)
        self._global_args = global_args
        self._build_args = build_args
        self._escape = escape
        self._arguments: dict[str, str] = {}

    @property
    def variables(self) -> dict[str, str]:
        """For `expand.expanded`: ARGs, overridden by ENV."""
        return {**self._arguments, **self._environment}

    @property
    def environment(self) -> dict[str, str]:
        """For the image's config: the base's and ENV's, in order."""
        return dict(self._environment)

    @property
    def run_environment(self) -> dict[str, str]:
        """For RUN's process: proxies given as build arguments, ARGs with a value, ENV on top."""
        proxies = {name: self._build_args[name] for name in PROXY_ARGS if name in self._build_args}
        return {**proxies, **self.variables}

    @property
    def arguments(self) -> dict[str, str]:
        """ARGs declared so far that have a value: part of RUN's cache key and of its history.

        Proxies are left out unless an ARG names them (the reference: then they count like any other).
        """
        return dict(self._arguments)

    def arg(self, instruction: Arg) -> Arg:
        """Declares it; returns it with final values (None: no value). Raises BadContainerfile."""
        pairs: list[tuple[str, str | None]] = []
        for name, default in instruction.pairs:
            value: str | None = None
            if name in self._build_args:
                value = self._build_args[name]
            elif default is not None:
                value = _value(default, self.variables, self._escape, instruction)
            elif name in self._global_args:
                value = self._global_args[name]
            if value is not None:
                self._arguments[name] = value
            pairs.append((name, value))
        return dataclasses.replace(instruction, pairs=tuple(pairs))

    def env(self, instruction: Env) -> Env:
        """Sets them; returns the instruction with final values. Raises BadContainerfile."""
        final = expanded(instruction, self.variables, self._escape)
        self._environment.update(final.pairs)
        return final

    def child(self) -> Scope:
        """The scope of a stage that starts from what this one has built: both its ENV and its ARGs."""
        other = Scope(
            self._environment,
            global_args=self._global_args,
            build_args=self._build_args,
            escape=self._escape,
        )
        other._arguments = dict(self._arguments)
        return other


def _value(default: str, variables: Mapping[str, str], escape: str, instruction: Arg) -> str:
    try:
        return word(default, variables, escape)
    except LimitExceeded:
        raise
    except InvalidInput as error:
        cause = f"ARG: {error.subject} {error.cause}"
        raise BadContainerfile(str(instruction.place), cause, hint=error.hint) from error
