"""Which version of the specification a chain is run at: the highest that everybody in it speaks.

Every plugin is asked once with VERSION (section 2); the answer is kept below the state folder until the
program changes.
"""

from __future__ import annotations

import contextlib
import json
import os

from orlop.kit import files
from orlop.kit.errors import Unsupported
from orlop.network import plugin
from orlop.network.builtin import registry
from orlop.network.conflist import VERSIONS, NetworkList

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from collections.abc import Sequence

    Known = dict[str, tuple[int, int, list[str]]]  # path -> modification time (ns), size, versions


def choose(network: NetworkList, folders: Sequence[str], cache: str, builtin: Sequence[str] = ()) -> str:
    """The version to run `network` at. Raises Unsupported naming the plugin that speaks none of them."""
    known = _load(cache)
    fresh = False
    allowed = set(network.versions)
    for config in network.plugins:
        if registry.serves(config, builtin):
            continue  # in process, where every version is spoken
        path = plugin.find(config["type"], folders)
        status = os.stat(path)
        entry = known.get(path)
        if entry is None or (entry[0], entry[1]) != (status.st_mtime_ns, status.st_size):
            entry = (status.st_mtime_ns, status.st_size, supported(path, folders))
            known[path] = entry
            fresh = True
        if not allowed & set(entry[2]):
            raise Unsupported(
                f"network {network.name}",
                f"{path} speaks CNI {', '.join(entry[2])}; {', '.join(sorted(allowed))} was wanted",
                hint="change `cniVersion` of the configuration, or install a matching plugin",
            )
        allowed &= set(entry[2])
    if fresh:
        _store(cache, known)
    return [version for version in VERSIONS if version in allowed][-1]


def supported(path: str, folders: Sequence[str]) -> list[str]:
    """Ask one plugin. One that has never heard of VERSION speaks 0.1.0, as in libcni."""
    env = plugin.environment("VERSION", folders, pod_id="dummy", netns="dummy", interface="dummy")
    try:
        answer = plugin.execute(path, env, {"cniVersion": VERSIONS[-1]})
    except plugin.PluginFailed as error:
        if "unknown CNI_COMMAND: VERSION" in error.cause:
            return ["0.1.0"]
        raise
    listed = answer.get("supportedVersions")
    if isinstance(listed, list) and listed:
        return [str(version) for version in listed]
    return [str(answer.get("cniVersion", "0.1.0"))]


def _load(cache: str) -> Known:
    try:
        with open(cache, encoding="utf-8") as stream:
            value = json.load(stream)
        return {path: (entry[0], entry[1], entry[2]) for path, entry in value.items()}
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return {}  # it is a cache


def _store(cache: str, known: Known) -> None:
    with contextlib.suppress(OSError):  # asked again the next time
        files.make_folder(os.path.dirname(cache))
        files.write_atomic(cache, json.dumps(known).encode(), durable=False)
