"""The JSON schemas of the OCI image specification (v1.1.1, from its Go module), against what we write.

check("manifest", data)         # data: bytes, or the document itself
check("descriptor", document)   # raises AssertionError, with the place and the reason
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from typing import Any

import jsonschema
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT4

from tools.builds import module

_MODULE = ("github.com/opencontainers/image-spec", "v1.1.1")
_FILES = {
    "manifest": "image-manifest-schema.json",
    "index": "image-index-schema.json",
    "config": "config-schema.json",
    "layout": "image-layout-schema.json",
    "descriptor": "content-descriptor.json",
}
KINDS = tuple(_FILES)


def check(kind: str, document: bytes | Mapping[str, Any]) -> None:
    """`document` is a valid `kind` (one of KINDS). What the specification says in words only is not seen."""
    value = json.loads(document) if isinstance(document, bytes) else document
    problems = [
        f"{'/'.join(map(str, error.absolute_path)) or '(top)'}: {error.message[:300]}"
        for error in _validator(kind).iter_errors(value)
    ]
    assert not problems, f"no valid {kind}: {'; '.join(problems)}"


@functools.cache
def _validator(kind: str) -> jsonschema.Draft4Validator:
    found = _schema(_FILES[kind])
    registry: Registry[Any] = Registry(retrieve=_retrieve)  # type: ignore[call-arg]  # attrs renames it
    checker = jsonschema.Draft4Validator.FORMAT_CHECKER
    return jsonschema.Draft4Validator(found, registry=registry, format_checker=checker)


def _retrieve(uri: str) -> Resource[Any]:
    """References between the files are relative to their `id`s, which name no files: the last part does."""
    return DRAFT4.create_resource(_schema(uri.rpartition("/")[2].partition("#")[0]))


@functools.cache
def _schema(name: str) -> Any:
    return json.loads((module(*_MODULE) / "schema" / name).read_bytes())
