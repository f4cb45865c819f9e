"""SIGHUP: the configuration is read anew; what can change while the daemon works does, the rest is named.

All or nothing: a file that is wrong anywhere changes nothing. The streaming server's certificate is
read anew too.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

from orlop.cri.nri.settings import NriSettings
from orlop.cri.operate.logs import set_up
from orlop.cri.operate.report import Word
from orlop.cri.operate.settings import ServeSettings, TracingSettings
from orlop.cri.service import Service
from orlop.cri.settings import CriSettings
from orlop.cri.streaming.settings import StreamingSettings
from orlop.image.settings import ImageSettings
from orlop.kit import systemd
from orlop.kit.config import Config
from orlop.kit.errors import OrlopError
from orlop.kit.tasks import in_thread
from orlop.network.settings import NetworkSettings
from orlop.runtime.engine import RuntimeSettings
from orlop.store.model import StoreSettings

TYPE_CHECKING = False  # prometheus-client is imported only where it is used
if TYPE_CHECKING:
    from orlop.cri.operate.metrics import Metrics

_log = logging.getLogger(__name__)

#: The sections that the daemon works with.
SECTIONS: Mapping[str, type[Any]] = {
    "cri": CriSettings,
    "image": ImageSettings,
    "network": NetworkSettings,
    "nri": NriSettings,
    "runtime": RuntimeSettings,
    "serve": ServeSettings,
    "store": StoreSettings,
    "streaming": StreamingSettings,
    "tracing": TracingSettings,
}
#: Keys that count from the next start on; "*": all of the section.
_FIXED: Mapping[str, tuple[str, ...]] = {
    "cri": ("listen", "socket_mode", "socket_group"),
    "nri": ("*",),
    "runtime": ("*",),
    "serve": ("metrics_address",),
    "streaming": ("*",),
    "tracing": ("*",),
}


def settings_of(config: Config) -> dict[str, Any]:
    """Every section as its settings. Raises InvalidInput for the first that is wrong."""
    return {name: config.section(name, schema) for name, schema in SECTIONS.items()}


class Reloader:
    """`load` reads the files; `collect` takes a new collect_interval."""

    def __init__(
        self,
        service: Service,
        config: Config,
        word: Word,
        load: Callable[[], Config],
        collect: Callable[[float], None],
        *,
        verbose: bool = False,
        metrics: Metrics | None = None,
    ) -> None:
        self._service = service
        self._settings = settings_of(config)
        self._word = word
        self._load = load
        self._collect = collect
        self._verbose = verbose
        self._metrics = metrics

    async def reload(self) -> bool:
        """Read and apply; returns whether it was right. Says how it went: systemd, log, `orlop status`."""
        systemd.reloading()
        error = ""
        try:
            config, settings = await in_thread(self._read)
            await in_thread(self._service.streaming.reload_tls)
            self._apply(config, settings)
        except OrlopError as failure:
            error = f"{failure} ({failure.hint})"
            _log.error("the configuration stays as it was: %s", error)
        except Exception as failure:
            error = f"{type(failure).__name__}: {failure}"
            _log.exception("the configuration could not be read anew")
        self._word.say(reload={"at": time.time(), "error": error})
        if self._metrics is not None:
            self._metrics.reloads.labels("failed" if error else "ok").inc()
        systemd.ready()
        return not error

    def _read(self) -> tuple[Config, dict[str, Any]]:
        from orlop.image.registries.load import load

        config = self._load()
        settings = settings_of(config)
        load()  # registries.conf is read by each pull: a wrong one is told now
        return config, settings

    def _apply(self, config: Config, settings: dict[str, Any]) -> None:
        changed = list(self._changed(settings))
        service, pods = self._service, self._service.pods
        set_up(settings["serve"], verbose=self._verbose)
        service.settings = settings["cri"]
        service.pulls.allow(settings["cri"].parallel_pulls)
        pods.configure(config)
        self._collect(settings["serve"].collect_interval)
        self._settings = settings
        waiting = [key for key, fixed in changed if fixed]
        if waiting:
            _log.warning("needs a restart of the daemon: %s", ", ".join(waiting))
        now = [key for key, fixed in changed if not fixed]
        _log.info("configuration read anew: %s", ", ".join(now) if now else "nothing else has changed")

    def _changed(self, settings: dict[str, Any]) -> list[tuple[str, bool]]:
        """([section] key, whether it needs a restart) of what differs."""
        found = []
        for section, new in settings.items():
            fixed = _FIXED.get(section, ())
            for key, value in vars(new).items():
                if value != vars(self._settings[section])[key]:
                    found.append((f"[{section}] {key}", "*" in fixed or key in fixed))
        return found
