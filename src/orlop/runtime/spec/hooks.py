"""Programs that the OCI runtime runs on a container's way (config.md, "POSIX-platform Hooks")."""

from __future__ import annotations

from orlop.kit.errors import InvalidInput
from orlop.runtime.model import Hook

_STAGES = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")


def hooks(asked: tuple[Hook, ...]) -> dict[str, list[dict[str, object]]]:
    """`hooks`, in the order asked for within each stage. Raises InvalidInput."""
    listed: dict[str, list[dict[str, object]]] = {}
    for hook in asked:
        if hook.stage not in _STAGES:
            raise InvalidInput(f"hook {hook.path}", f"{hook.stage!r} is no stage", hint=", ".join(_STAGES))
        if not hook.path.startswith("/") or "\0" in hook.path or hook.timeout < 0:
            raise InvalidInput(
                f"hook {hook.path!r}",
                "its path is not absolute or its timeout negative",
                hint="give an absolute path and 0 seconds or more",
            )
        entry: dict[str, object] = {"path": hook.path}
        if hook.args:
            entry["args"] = list(hook.args)
        if hook.env:
            entry["env"] = list(hook.env)
        if hook.timeout:
            entry["timeout"] = hook.timeout
        listed.setdefault(hook.stage, []).append(entry)
    return listed
