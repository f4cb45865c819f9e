"""Cache keys: the same key, the same layer.

What a step's key holds is all that its layer depends on: the chain of the layers below, the instruction's
final words, the environment, user
and working folder of RUN, the contents of what is copied or mounted, the bound of times. No modification
time, no path of this machine, and nothing of a secret but that it is asked for.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

from orlop.build.model import LayerOf

_VERSION = 1  # of what the keys are made of: another number, and no old entry is found


def key(*parts: object) -> str:
    """`sha256:...` of JSON values."""
    text = json.dumps([_VERSION, *parts], sort_keys=True, separators=(",", ":"))
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class Keys:
    """`exact`: any of them leads to an image with the step's layer on these very layers. `link`: to an image
    whose uppermost layer is the step's, on whatever layers ("": none)."""

    exact: tuple[str, ...]
    link: str = ""

    @property
    def all(self) -> list[str]:
        return [*self.exact, self.link] if self.link else list(self.exact)


@dataclass(frozen=True)
class Found:
    """What a step came to: its layer (None: it changed nothing), and when that was.

    `image_id`: the cached image with it, "" where one is still to be stored; None: it was made now.
    """

    layer: LayerOf | None
    created: str
    image_id: str | None = None
