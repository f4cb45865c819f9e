"""Credentials, written: containers-auth.json(5) as podman, skopeo and docker read it, and credential helpers.

The file is replaced whole under a lock of its folder, readable by its owner only; what else it says stays.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from orlop.image import auth
from orlop.image.reference import DEFAULT_REGISTRY, check_registry, check_repository
from orlop.image.registries.load import load
from orlop.image.transport.open import OpenOptions, endpoints
from orlop.image.transport.registry import Endpoint
from orlop.image.transport.repository import Repository, of_registry
from orlop.kit import files, locks
from orlop.kit.errors import InvalidInput, NotFound, OrlopError
from orlop.kit.process import failed

_MODE = 0o600
_WAIT = 10.0  # seconds for another login that writes the same file
_HINT = "write REGISTRY[:PORT][/NAMESPACE...], without https:// and without a tag"


def key_of(text: str) -> str:
    """What auth.json calls `text`: a registry, perhaps with a namespace. Raises InvalidInput."""
    for scheme in ("https://", "http://"):
        if text.startswith(scheme):
            text = auth.normalised(text)
    registry, slash, rest = text.rstrip("/").partition("/")
    try:
        check_registry(registry, text)
        if slash:
            check_repository(rest, text)
    except InvalidInput as error:
        raise InvalidInput(text[:300] or "''", "is no registry", hint=_HINT) from error
    if registry in auth.DOCKER_HUB:
        registry = DEFAULT_REGISTRY
    return registry + slash + rest


def login(key: str, credentials: auth.Credentials, options: OpenOptions) -> str:
    """Ask the registry of `key` (from `key_of`) whether it takes `credentials`, then keep them.

    Returns where: a file, or a helper's program. Raises Denied, Unavailable, InvalidInput (a malformed file).
    """
    reference = of_registry(key.partition("/")[0])
    known = endpoints(reference, options)[-1]
    place = Repository(
        Endpoint(reference, known.insecure, certificates=known.certificates),
        options.settings,
        options.cancellation,
        lambda _: credentials,
        actions="",
    )
    try:
        place.check_login()
    finally:
        place.close()
    conf = load() if options.registries is None else options.registries
    return keep(key, credentials, auth_file=options.auth_file, helpers=conf.credential_helpers)


def keep(
    key: str,
    credentials: auth.Credentials,
    *,
    auth_file: str = "",
    helpers: tuple[str, ...] = (),
    environment: Mapping[str, str] | None = None,
) -> str:
    """Write credentials where `auth.find` reads them first; returns where. `helpers` as there."""
    environment = os.environ if environment is None else environment
    path = place(auth_file, environment)
    helper = _first(helpers) or _helper(_document(path), key)
    if helper:
        request = {
            "ServerURL": auth.server_name(key),
            "Username": credentials.user,
            "Secret": credentials.password,
        }
        done, program = auth.call_helper(helper, "store", json.dumps(request).encode(), environment)
        if done.status != 0:
            raise failed(done, hint=f"see why {program} does not keep credentials")
        return program
    pair = f"{credentials.user}:{credentials.password}"

    def change(document: dict[str, Any]) -> None:
        auths = document.setdefault("auths", {})
        for other in [other for other in auths if auth.normalised(other) == key and other != key]:
            del auths[other]  # the same registry in Docker's words
        auths[key] = {"auth": base64.b64encode(pair.encode()).decode()}

    _edit(path, change)
    return path


def forget(
    key: str,
    *,
    auth_file: str = "",
    helpers: tuple[str, ...] = (),
    environment: Mapping[str, str] | None = None,
) -> str:
    """Take credentials away; returns from where. Raises NotFound where there are none under that key."""
    environment = os.environ if environment is None else environment
    path = place(auth_file, environment)
    document = _document(path)
    helper = _first(helpers) or _helper(document, key)
    if helper:
        return _erase(helper, key, environment)
    found = [other for other in auth.table(document, "auths", path) if auth.normalised(other) == key]
    if not found:
        raise NotFound(
            key, f"nobody is logged in by {path}", hint="see which file has it: REGISTRY_AUTH_FILE"
        )

    def change(document: dict[str, Any]) -> None:
        for other in found:
            document.get("auths", {}).pop(other, None)

    _edit(path, change)
    return path


def forget_all(*, auth_file: str = "", environment: Mapping[str, str] | None = None) -> str:
    """Take every entry of the file away, and what its helpers keep for it; returns the file."""
    environment = os.environ if environment is None else environment
    path = place(auth_file, environment)
    document = _document(path)
    for key, helper in auth.table(document, "credHelpers", path).items():
        if isinstance(helper, str):
            _erase(helper, key, environment)

    def change(document: dict[str, Any]) -> None:
        document["auths"] = {}

    if document:
        _edit(path, change)
    return path


def place(auth_file: str, environment: Mapping[str, str]) -> str:
    """The file that logging in writes: the one that is named, else the first place that is read."""
    named = auth_file or environment.get("REGISTRY_AUTH_FILE", "")
    runtime = environment.get("XDG_RUNTIME_DIR", "")
    usual = f"{runtime}/containers/auth.json" if runtime else f"/run/containers/{os.getuid()}/auth.json"
    return os.path.realpath(named or usual)  # a link stays a link to what is written


def _document(path: str) -> dict[str, Any]:
    document = auth.read(path, required=False) or {}
    for key in ("auths", "credHelpers"):
        auth.table(document, key, path)
    return document


def _first(helpers: tuple[str, ...]) -> str:
    """registries.conf's helper that writes; "" for the file."""
    return "" if not helpers or helpers[0] == auth.AUTH_FILES else helpers[0]


def _helper(document: dict[str, Any], key: str) -> str:
    """The helper that the file names for `key`; "" where the file itself holds credentials."""
    helpers = document.get("credHelpers") or {}
    for candidate in _wider(key):
        if isinstance(helpers.get(candidate), str):
            return str(helpers[candidate])
    store = document.get("credsStore")
    return store if isinstance(store, str) else ""


def _wider(key: str) -> Iterator[str]:
    while True:
        yield key
        if "/" not in key:
            return
        key = key.rpartition("/")[0]


def _erase(helper: str, key: str, environment: Mapping[str, str]) -> str:
    done, program = auth.call_helper(helper, "erase", auth.server_name(key).encode(), environment)
    if done.status != 0 and b"not found" not in (done.stdout + done.stderr).lower():
        raise failed(done, hint=f"see why {program} does not forget credentials")
    return program


def _edit(path: str, change: Callable[[dict[str, Any]], None]) -> None:
    """Read, change and replace the file, while no other login does."""
    folder = os.path.dirname(path)
    try:
        files.make_folder(folder)
        with locks.hold(folder, timeout=_WAIT):
            document = _document(path)
            change(document)
            data = json.dumps(document, indent="\t").encode() + b"\n"
            files.write_atomic(path, data, mode=_MODE)
    except OSError as error:
        raise OrlopError(
            path, f"cannot be written: {error.strerror}", hint="name another by --authfile"
        ) from error
