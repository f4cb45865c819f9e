"""One plugin, executed as CNI 1.1.0 section 2 says: environment, standard input, result or error object."""

from __future__ import annotations

import json
import os

from orlop.kit import limits, process
from orlop.kit.errors import InvalidInput, NotFound, OrlopError

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

_HINTS = {
    1: "see what the plugin speaks with CNI_COMMAND=VERSION, and set `cniVersion`",
    2: "correct the network's configuration",
    4: "correct the network's configuration",
    6: "correct the network's configuration",
    7: "correct the network's configuration",
    11: "try again later",
}
_HINT = "correct what the plugin complains of, then run the command again"


class PluginFailed(OrlopError):
    """A plugin said no. `code` is that of its error object (section 5), 0 where it printed none."""

    def __init__(self, subject: str, cause: str, *, hint: str, code: int = 0) -> None:
        super().__init__(subject, cause, hint=hint)
        self.code = code


def find(kind: str, folders: Sequence[str]) -> str:
    """The path of the program `kind`. Raises NotFound saying where it was looked for."""
    for folder in folders:
        path = os.path.join(folder, kind)
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    raise NotFound(
        f"CNI plugin {kind}",
        f"is in none of {', '.join(folders) or '(no folder)'}",
        hint="install containernetworking-plugins, or name its folder in [network] plugin_dirs",
    )


def environment(
    command: str,
    folders: Sequence[str],
    *,
    pod_id: str = "",
    netns: str = "",
    interface: str = "",
    args: str = "",
) -> dict[str, str]:
    """What a plugin finds in its environment, and nothing else."""
    given = {
        "CNI_COMMAND": command,
        "CNI_CONTAINERID": pod_id,
        "CNI_NETNS": netns,
        "CNI_IFNAME": interface,
        "CNI_ARGS": args,
        "CNI_PATH": ":".join(folders),
    }
    return {**process.MINIMAL_ENV, **given}


def execute(
    path: str, env: Mapping[str, str], config: Mapping[str, Any], *, inherited: Sequence[int] = ()
) -> dict[str, Any]:
    """Run the program; its output as JSON, {} where it printed nothing.

    `inherited` descriptors stay open for as long as it runs. Raises PluginFailed, TimedOut, LimitExceeded.
    """
    done = process.run(
        (path,),
        env=env,
        stdin=json.dumps(config).encode(),
        timeout=limits.CNI_TIMEOUT,
        check=False,
        pass_fds=inherited,
        output_limit=limits.CNI_FILE_SIZE,
    )
    subject = _subject(path, env, config)
    if done.status != 0:
        raise _said_no(subject, done)
    if not done.stdout.strip():
        return {}
    value = _decoded(done.stdout)
    if value is None:
        raise PluginFailed(
            subject, "printed a result that is not a JSON object", hint="report this to the plugin's authors"
        )
    return value


def _subject(path: str, env: Mapping[str, str], config: Mapping[str, Any]) -> str:
    network = config.get("name", "")
    of = f" of network {network}" if network else ""
    return f"{env['CNI_COMMAND']} by CNI plugin {os.path.basename(path)}{of}"


def _said_no(subject: str, done: process.Completed) -> PluginFailed:
    value = _decoded(done.stdout)
    if value is None or "code" not in value:
        return PluginFailed(subject, process.failed(done, hint=_HINT).cause, hint=_HINT)
    code = value["code"] if type(value["code"]) is int else 0
    words = [str(value[key]) for key in ("msg", "details") if value.get(key)]
    cause = ": ".join(words) or "no reason given"
    return PluginFailed(subject, f"{cause} (code {code})", hint=_hint(code, cause), code=code)


def _hint(code: int, cause: str) -> str:
    if "no IP addresses available" in cause:
        return "remove pods, or give the network a larger subnet"
    if "iptables" in cause and "locate" in cause:
        return "install iptables"
    return _HINTS.get(code, _HINT)


def _decoded(raw: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def check_text(what: str, text: str) -> str:
    """`text` unless it would break CNI_ARGS, which has no quoting. Raises InvalidInput."""
    if any(letter in text for letter in ";=\0\n"):
        raise InvalidInput(what, f"{text!r} cannot be passed to a CNI plugin", hint="leave ; and = out of it")
    return text
