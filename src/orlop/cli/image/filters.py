"""`--filter KEY=VALUE` of `orlop image list`: podman's words that ask for what a store knows.

Values of one key are alternatives, but for labels, all of which must be there; keys narrow each other.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Callable

from orlop.cli.image.names import familiar
from orlop.kit.errors import InvalidInput
from orlop.store.model import StoredImage
from orlop.store.store import Store

_Test = Callable[[StoredImage], bool]
_KEYS = ("before", "dangling", "label", "reference", "since")
_TRUTH = {"true": True, "1": True, "false": False, "0": False}


def chosen(store: Store, images: list[StoredImage], filters: list[str]) -> list[StoredImage]:
    """Those that every key lets pass. Raises InvalidInput for a filter that is none, NotFound (before)."""
    by_key: dict[str, list[_Test]] = {}
    for text in filters:
        key, equals, value = text.partition("=")
        if key not in _KEYS or not equals or not value:
            raise InvalidInput(
                f"--filter {text[:100]!r}",
                "is no filter",
                hint=f"KEY=VALUE, KEY is one of {', '.join(_KEYS)}",
            )
        by_key.setdefault(key if key != "label" else text, []).append(_test(store, key, value))
    return [image for image in images if all(any(test(image) for test in tests) for tests in by_key.values())]


def _test(store: Store, key: str, value: str) -> _Test:
    if key == "dangling":
        if value not in _TRUTH:
            raise InvalidInput(
                f"--filter dangling={value[:40]}", "is neither true nor false", hint="true, false"
            )
        return lambda image: (not image.names) is _TRUTH[value]
    if key == "label":
        name, equals, wanted = value.partition("=")

        def has_label(image: StoredImage) -> bool:
            labels = store.image_config(image.id).labels
            return name in labels and (not equals or labels[name] == wanted)

        return has_label
    if key == "reference":
        return lambda image: any(_matches(name, value) for name in image.names)
    moment = _moment(store.image(value))
    if key == "before":
        return lambda image: _moment(image) < moment
    return lambda image: _moment(image) > moment


def _matches(name: str, pattern: str) -> bool:
    """With or without its tag, its registry or its folders: as people write names."""
    spellings = {name, familiar(name)}
    spellings |= {text.rpartition("/")[2] for text in spellings}
    spellings |= {text.rpartition(":")[0] for text in spellings if ":" in text.rpartition("/")[2]}
    return any(fnmatch.fnmatchcase(text, pattern) for text in spellings)


def _moment(image: StoredImage) -> float:
    """When it says that it was made, in seconds since the epoch; 0.0 where it says nothing that is a time."""
    from datetime import UTC, datetime

    try:
        found = datetime.fromisoformat(image.created)
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return 0.0
