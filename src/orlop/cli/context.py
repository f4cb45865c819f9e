"""What a command works on: the node, and its layers opened when first asked for."""

from __future__ import annotations

import os

from orlop.kit.errors import InvalidInput
from orlop.kit.node import DEFAULT_CONFIG, DEFAULT_ROOT, DEFAULT_STATE, Node

TYPE_CHECKING = False  # as typing's
if TYPE_CHECKING:
    import argparse

    from orlop.kit.config import Config
    from orlop.pod.context import Pods
    from orlop.store.store import Store

#: Sections of the configuration file and the layers that own them (docs/configuration.md).
SECTIONS = {
    "cri": "orlop.cri.settings.CriSettings",
    "image": "orlop.image.settings.ImageSettings",
    "network": "orlop.network.settings.NetworkSettings",
    "nri": "orlop.cri.nri.settings.NriSettings",
    "runtime": "orlop.runtime.engine.RuntimeSettings",
    "serve": "orlop.cri.operate.settings.ServeSettings",
    "store": "orlop.store.model.StoreSettings",
    "streaming": "orlop.cri.streaming.settings.StreamingSettings",
    "supervise": "orlop.system.supervise.logs.LogSettings",
    "tracing": "orlop.cri.operate.settings.TracingSettings",
}


class Context:
    """One node as the command line and the environment name it. `output` is "table" or "json"."""

    def __init__(self, node: Node, *, output: str = "table", verbose: bool = False) -> None:
        self.node = node
        self.output = output
        self.verbose = verbose
        self._config: Config | None = None
        self._store: Store | None = None
        self._pods: Pods | None = None

    @classmethod
    def of(cls, arguments: argparse.Namespace) -> Context:
        node = Node(
            root=_folder(arguments.root, "ORLOP_ROOT", DEFAULT_ROOT),
            state=_folder(arguments.state, "ORLOP_STATE", DEFAULT_STATE),
            config=_folder(arguments.config, "ORLOP_CONFIG", DEFAULT_CONFIG),
        )
        return cls(node, output=arguments.output, verbose=arguments.verbose)

    @property
    def json(self) -> bool:
        return self.output == "json"

    @property
    def config(self) -> Config:
        """Raises InvalidInput where the files are wrong."""
        if self._config is None:
            self._config = self.load()
        return self._config

    def load(self) -> Config:
        """The configuration as the files say now. Raises InvalidInput where they are wrong."""
        from orlop.kit.config import Config

        config = Config.load(self.node)
        for section in config.sections():
            if section not in SECTIONS:
                raise InvalidInput(
                    f"[{section}] of {self.node.config}",
                    "no such section",
                    hint=f"known sections: {', '.join(SECTIONS)}",
                )
        return config

    @property
    def store(self) -> Store:
        if self._store is None:
            if self._pods is not None:
                return self._pods.store
            from orlop.store.store import Store, StoreSettings

            self._store = Store(self.node, self.config.section("store", StoreSettings))
        return self._store

    @property
    def pods(self) -> Pods:
        if self._pods is None:
            from orlop.pod.context import Pods

            self._pods = Pods(self.node, self.config)
        return self._pods


def _folder(given: str | None, variable: str, default: str) -> str:
    """Absolute, links resolved: a node has one name, whichever way leads to it."""
    return os.path.realpath(given or os.environ.get(variable) or default)
