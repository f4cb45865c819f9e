"""Short names (`busybox`): containers-registries.conf(5), "Short-Name Aliasing"."""

from __future__ import annotations

from orlop.image.reference import DEFAULT_REGISTRY, Reference, is_short
from orlop.image.registries import model
from orlop.image.registries.model import RegistriesConf
from orlop.kit.errors import InvalidInput


def candidates(text: str, conf: RegistriesConf) -> list[Reference]:
    """The references that `text` may mean, to be tried in this order.

    A whole reference means itself. A short name means its alias, else itself in each search registry; in
    docker.io where no file names search registries. Raises InvalidInput, also where short-name-mode
    `enforcing` forbids to guess among several registries (nobody is asked: Orlop does not prompt).
    """
    whole = Reference.parse(text)  # refuses what is malformed, whichever registry it will be
    if not is_short(text):
        return [whole]
    name_and_tag, at, digest = text.partition("@")
    name, colon, tag = name_and_tag.partition(":")
    alias = conf.aliases.get(name, "")
    if alias:
        return [Reference.parse(f"{alias}{colon}{tag}{at}{digest}")]
    search = (DEFAULT_REGISTRY,) if conf.search is None else conf.search
    if not search:
        raise InvalidInput(
            text,
            "is a short name, and registries.conf has an empty list of search registries",
            hint=f"write the registry too, e.g. {whole.canonical}",
        )
    if conf.short_name_mode == model.ENFORCING and len(search) > 1:
        raise InvalidInput(
            text,
            f"is a short name that may mean one of {len(search)} registries ({', '.join(search)})",
            hint=f"write the registry too, e.g. {search[0]}/{text}, or add an alias to registries.conf",
        )
    return [Reference.within(registry, text) for registry in search]
