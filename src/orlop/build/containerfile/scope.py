"""STUB, being written: the signatures hold."""

from __future__ import annotations

from collections.abc import Mapping

from orlop.build.containerfile.model import Arg, Containerfile, Env

#: Build arguments that RUN sees in its environment without an ARG, and that are no part of cache keys.
PROXY_ARGS = (
    "HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "FTP_PROXY", "ftp_proxy", "NO_PROXY", "no_proxy",
    "ALL_PROXY", "all_proxy",
)  # fmt: skip


def platform_args(build: str, target: str, stage: str = "") -> dict[str, str]:
    """BUILDPLATFORM, TARGETOS, ... of "linux/arm/v7"-like texts, and TARGETSTAGE (`stage` or "default")."""
    raise NotImplementedError


def globals_of(
    parsed: Containerfile, build_args: Mapping[str, str], predefined: Mapping[str, str]
) -> dict[str, str]:
    """The variables that FROM lines see: `predefined` (platform_args) and the ARGs before the first FROM."""
    raise NotImplementedError


def unused_build_args(parsed: Containerfile, build_args: Mapping[str, str]) -> list[str]:
    """Names given on the command line that no ARG declares and that are not predefined: worth a warning."""
    raise NotImplementedError


class Scope:
    """What the instructions of one stage see, from its base on. Copy it where a stage starts from another
    (`child`: its ENV is inherited, its ARGs are inherited too, as BuildKit does since 1.x)."""

    def __init__(
        self,
        environment: Mapping[str, str],
        *,
        global_args: Mapping[str, str],
        build_args: Mapping[str, str],
        escape: str = "\\",
    ) -> None:
        raise NotImplementedError

    @property
    def variables(self) -> dict[str, str]:
        """For `expand.expanded`: ARGs, overridden by ENV."""
        raise NotImplementedError

    @property
    def environment(self) -> dict[str, str]:
        """For the image's config: the base's and ENV's, in order."""
        raise NotImplementedError

    @property
    def run_environment(self) -> dict[str, str]:
        """For RUN's process: proxies given as build arguments, ARGs with a value, ENV on top."""
        raise NotImplementedError

    @property
    def arguments(self) -> dict[str, str]:
        """ARGs declared so far that have a value (without the proxies): RUN's cache key and its history."""
        raise NotImplementedError

    def arg(self, instruction: Arg) -> Arg:
        """Declares it; returns it with final values (None: no value). Raises BadContainerfile."""
        raise NotImplementedError

    def env(self, instruction: Env) -> Env:
        """Sets them; returns the instruction with final values. Raises BadContainerfile."""
        raise NotImplementedError

    def child(self) -> Scope:
        """The scope of a stage that starts from what this one has built."""
        raise NotImplementedError
