"""Credentials for registries: containers-auth.json(5), Docker's config.json, credential helpers.

Places, in order: $REGISTRY_AUTH_FILE; $XDG_RUNTIME_DIR/containers/auth.json (else
/run/containers/UID/auth.json); ~/.config/containers/auth.json; $DOCKER_CONFIG/config.json or
~/.docker/config.json; ~/.dockercfg. The first place that knows the repository wins, and within it the most
specific key: registry/namespace/repository up to the registry alone.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from orlop.image.reference import DEFAULT_REGISTRY, Reference
from orlop.kit import limits
from orlop.kit.errors import InvalidInput, NotFound, OrlopError
from orlop.kit.files import read_bounded
from orlop.kit.process import MINIMAL_ENV, Completed, failed, run

DOCKER_HUB = ("docker.io", "index.docker.io", "registry-1.docker.io")
_HELPER_TOKEN_USER = "<token>"  # noqa: S105 (the name that helpers give for an identity token)
AUTH_FILES = "containers-auth.json"


@dataclass(frozen=True)
class Credentials:
    """Who asks: a user with a password, an identity (refresh) token, or a bearer token that the registry
    itself takes as it is. Never shown by repr."""

    user: str
    password: str = field(repr=False)
    identity_token: str = field(default="", repr=False)
    registry_token: str = field(default="", repr=False)


def find(
    reference: Reference,
    *,
    auth_file: str = "",
    helpers: tuple[str, ...] = (),
    environment: Mapping[str, str] | None = None,
) -> Credentials | None:
    """The credentials for a repository; None where nobody has any (then one asks anonymously).

    `auth_file` is looked at instead of all other files; `helpers` are registries.conf's credential-helpers.
    Raises InvalidInput for a malformed file, ProcessFailed, TimedOut or NotFound for a helper that fails.
    """
    environment = os.environ if environment is None else environment
    for helper in helpers or (AUTH_FILES,):
        if helper != AUTH_FILES:
            found = _ask_helper(helper, reference.registry, environment)
        else:
            found = _in_files(reference, auth_file, environment)
        if found is not None:
            return found
    return None


def _in_files(reference: Reference, auth_file: str, environment: Mapping[str, str]) -> Credentials | None:
    for path, required in _places(auth_file, environment):
        document = read(path, required=required)
        if document is not None:
            found = _in_document(document, path, reference, environment)
            if found is not None:
                return found
    return None


def _places(auth_file: str, environment: Mapping[str, str]) -> Iterator[tuple[str, bool]]:
    """(path, whether it was named by the user)."""
    named = auth_file or environment.get("REGISTRY_AUTH_FILE", "")
    if named:
        yield named, bool(auth_file)
        return
    home = environment.get("HOME") or os.path.expanduser("~")
    runtime = environment.get("XDG_RUNTIME_DIR", "")
    if runtime:
        yield os.path.join(runtime, "containers/auth.json"), False
    yield f"/run/containers/{os.getuid()}/auth.json", False
    config = environment.get("XDG_CONFIG_HOME") or os.path.join(home, ".config")
    yield os.path.join(config, "containers/auth.json"), False
    yield os.path.join(environment.get("DOCKER_CONFIG") or f"{home}/.docker", "config.json"), False
    yield os.path.join(home, ".dockercfg"), False


def read(path: str, *, required: bool) -> dict[str, Any] | None:
    """An auth.json; None where there is none. Raises InvalidInput for one that is malformed."""
    try:
        document = json.loads(read_bounded(path, limits.CONFIG_FILE_SIZE) or b"{}")
    except (FileNotFoundError, NotADirectoryError) as error:
        if required:
            raise InvalidInput(path, "no such file", hint="name an auth.json that exists") from error
        return None
    except OSError as error:
        if not required and not os.access(os.path.dirname(path), os.X_OK):
            return None  # a usual place that is closed to this user has nothing of theirs
        raise InvalidInput(path, f"cannot be read: {error.strerror}", hint="check its permissions") from error
    except (ValueError, RecursionError) as error:
        raise InvalidInput(
            path, f"is not JSON: {error}", hint="log in again to have it written anew"
        ) from None
    if not isinstance(document, dict):
        raise InvalidInput(path, "is not a JSON object", hint="log in again to have it written anew")
    if os.path.basename(path) == ".dockercfg":  # the oldest form has the entries at the top
        return {"auths": document}
    return document


def _in_document(
    document: dict[str, Any], path: str, reference: Reference, environment: Mapping[str, str]
) -> Credentials | None:
    helpers = table(document, "credHelpers", path)
    for key in _keys(reference):
        if isinstance(helpers.get(key), str) and helpers[key]:
            return _ask_helper(helpers[key], key, environment)
    store = document.get("credsStore")
    if isinstance(store, str) and store:
        server = server_name(reference.registry)
        found = _ask_helper(store, server, environment)
        if found is not None:
            return found
    auths = table(document, "auths", path)
    plain = {normalised(key): value for key, value in auths.items()}
    for key in _keys(reference):
        entry = auths.get(key) or plain.get(key)
        if isinstance(entry, dict):
            found = _decode(entry, f"{path}: {key}")
            if found is not None:
                return found
    return None


def table(document: dict[str, Any], key: str, path: str) -> dict[str, Any]:
    value = document.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InvalidInput(path, f"`{key}` is not an object", hint="log in again to have it written anew")
    return value


def _keys(reference: Reference) -> Iterator[str]:
    """From registry/namespace/repository down to the registry, and Docker Hub's other names."""
    key = reference.name
    while "/" in key:
        yield key
        key = key.rpartition("/")[0]
    yield from DOCKER_HUB if reference.registry == DEFAULT_REGISTRY else (key,)


def normalised(key: str) -> str:
    """`https://index.docker.io/v1/` is `index.docker.io`: Docker writes URLs, of which the host counts."""
    for scheme in ("https://", "http://"):
        if key.startswith(scheme):
            return key.removeprefix(scheme).partition("/")[0]
    stripped = key.rstrip("/")
    return stripped.removesuffix("/v1").removesuffix("/v2")


def server_name(registry: str) -> str:
    """What credential helpers call a registry."""
    return "https://index.docker.io/v1/" if registry == DEFAULT_REGISTRY else registry


def _decode(entry: dict[str, Any], subject: str) -> Credentials | None:
    token = entry.get("identitytoken")
    if isinstance(token, str) and token:
        return Credentials("", "", token)
    encoded = entry.get("auth")
    if not encoded:
        user, password = entry.get("username"), entry.get("password")
        return Credentials(user, password) if isinstance(user, str) and isinstance(password, str) else None
    try:
        pair = base64.b64decode(encoded, validate=True).decode()
    except (TypeError, ValueError, binascii.Error):
        pair = ""
    if ":" not in pair:
        raise InvalidInput(subject, "`auth` is not the base64 of user:password", hint="log in again")
    name, _, secret = pair.partition(":")
    return Credentials(name, secret.rstrip("\0"))


def call_helper(
    helper: str, verb: str, stdin: bytes, environment: Mapping[str, str]
) -> tuple[Completed, str]:
    """`docker-credential-NAME VERB`: how it ended, and its program's name. Raises InvalidInput, NotFound."""
    if "/" in helper or not helper:
        raise InvalidInput(
            helper, "is not the name of a credential helper", hint="write NAME of docker-credential-NAME"
        )
    program = f"docker-credential-{helper}"
    try:
        done = run(
            [program, verb],
            stdin=stdin,
            env={**MINIMAL_ENV, **environment},
            timeout=limits.CREDENTIAL_HELPER_TIMEOUT,
            output_limit=limits.CONFIG_FILE_SIZE,
            check=False,
        )
    except NotFound as error:
        raise NotFound(
            program, "no such credential helper", hint="install it, or take it out of auth.json"
        ) from error
    return done, program


def _ask_helper(helper: str, server: str, environment: Mapping[str, str]) -> Credentials | None:
    """`get`: the server's name in, a JSON object out."""
    done, program = call_helper(helper, "get", server.encode(), environment)
    hint = f"run `echo {server} | {program} get` to see what is wrong"
    if done.status != 0:
        if b"not found" in (done.stdout + done.stderr).lower():
            return None
        raise failed(done, hint=hint)
    return _helper_answer(done.stdout, program, hint)


def _helper_answer(output: bytes, program: str, hint: str) -> Credentials | None:
    try:
        answer = json.loads(output)
        user, secret = answer["Username"], answer["Secret"]
    except (ValueError, KeyError, TypeError) as error:
        raise OrlopError(program, "its answer is not the JSON of a credential helper", hint=hint) from error
    if not isinstance(user, str) or not isinstance(secret, str):
        raise OrlopError(program, "its answer has no user and secret", hint=hint)
    if not user and not secret:
        return None
    return Credentials("", "", secret) if user == _HELPER_TOKEN_USER else Credentials(user, secret)
