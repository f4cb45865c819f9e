"""Where simple signatures lie beside a registry: containers-registries.d(5).

A lookaside is a folder or a web server; the signatures of a manifest are
BASE/REPOSITORY@ALGORITHM=HEX/signature-1, -2, ... (the repository without its registry).
"""

from __future__ import annotations

import os
import posixpath
import urllib.parse
from collections.abc import Mapping, Sequence
from typing import Any

from orlop.image.digest import Digest
from orlop.image.policy.scopes import docker
from orlop.image.reference import Reference
from orlop.image.settings import ImageSettings
from orlop.kit import files, limits
from orlop.kit.errors import Denied, InvalidInput, LimitExceeded, Unavailable, Unsupported
from orlop.kit.files import read_bounded
from orlop.kit.value import dataclass

SYSTEM_FOLDER = "/etc/containers/registries.d"
_USER_FOLDER = ".config/containers/registries.d"
_ROOT_STORE = "/var/lib/containers/sigstore"
_USER_STORE = ".local/share/containers/sigstore"
_KEYS = ("lookaside", "lookaside-staging", "sigstore", "sigstore-staging", "use-sigstore-attachments")
_HINT = "correct the file: containers-registries.d(5)"


@dataclass(frozen=True)
class Place:
    """What is configured for a namespace; "" and None where it says nothing."""

    read: str = ""
    write: str = ""
    attachments: bool | None = None


_NOTHING = Place()


@dataclass(frozen=True)
class Lookasides:
    """All files together: `default` is of default-docker, `namespaces` of docker."""

    default: Place
    namespaces: Mapping[str, Place]

    def of(self, reference: Reference) -> Place:
        """The base URLs for a repository (from the most specific namespace that has one), and its switch."""
        scopes = [scope for scope in docker(reference).scopes if scope]
        found = [self.namespaces[scope] for scope in scopes if scope in self.namespaces] + [self.default]
        place = next((one for one in found if one.read or one.write), _NOTHING)
        switch = next((one.attachments for one in found if one.attachments is not None), None)
        own = f"file://{_own_store()}"
        return Place(place.read or own, place.write or place.read or own, switch)


def load(folder: str = "") -> Lookasides:
    """The files of `folder`, by default the user's folder if there is one, else the machine's.

    Raises InvalidInput for what is malformed or said twice.
    """
    folder = folder or _folder()
    try:
        names = sorted(name for name in os.listdir(folder) if name.endswith(".yaml"))
    except FileNotFoundError:
        names = []
    except OSError as error:
        raise InvalidInput(folder, f"cannot be read: {error.strerror}", hint=_HINT) from error
    if len(names) > limits.LOOKASIDE_FILES:
        raise InvalidInput(folder, f"has more than {limits.LOOKASIDE_FILES} files", hint="put them together")
    default: Place | None = None
    namespaces: dict[str, Place] = {}
    for name in names:
        path = os.path.join(folder, name)
        document = _document(path)
        if "default-docker" in document:
            if default is not None:
                raise InvalidInput(path, "default-docker stands in another file too", hint=_HINT)
            default = _place(document["default-docker"], f"{path}: default-docker")
        for namespace, value in _mapping(document.get("docker"), f"{path}: docker").items():
            if namespace in namespaces:
                raise InvalidInput(path, f"{namespace} stands in another file too", hint=_HINT)
            namespaces[namespace] = _place(value, f"{path}: {namespace}")
    return Lookasides(default or _NOTHING, namespaces)


class Beside:
    """The lookaside of one image, looked up when it is first asked for. `reference` is the user's name."""

    def __init__(self, reference: Reference) -> None:
        self._reference = reference
        self._place: Place | None = None

    @property
    def place(self) -> Place:
        """Raises InvalidInput for malformed files of registries.d."""
        if self._place is None:
            self._place = load().of(self._reference)
        return self._place

    @property
    def is_writable(self) -> bool:
        return self.place.write.startswith("file:")

    def read(self, digest: Digest) -> tuple[bytes, ...]:
        return read(self.place, self._reference, digest)

    def write(self, digest: Digest, signatures: Sequence[bytes]) -> None:
        write(self.place, self._reference, digest, signatures)


def read(place: Place, reference: Reference, digest: Digest) -> tuple[bytes, ...]:
    """The signatures of a manifest, in their order, unverified. Raises Unavailable, LimitExceeded."""
    scheme, base = _base(place.read, reference, digest)
    found: list[bytes] = []
    if scheme == "file":
        while (data := _from_file(f"{base}/signature-{len(found) + 1}")) is not None:
            _append(found, data, reference)
        return tuple(found)
    from orlop.image.transport.http import Http

    http = Http(ImageSettings())
    try:
        while (data := _from_server(http, f"{base}/signature-{len(found) + 1}")) is not None:
            _append(found, data, reference)
    finally:
        http.close()
    return tuple(found)


def write(place: Place, reference: Reference, digest: Digest, signatures: Sequence[bytes]) -> str:
    """Put signatures behind those that are there; returns the folder. Raises Unsupported, Denied."""
    scheme, base = _base(place.write, reference, digest)
    if scheme != "file":
        raise Unsupported(
            place.write,
            "cannot be written to",
            hint="set lookaside-staging to a file:// folder in registries.d",
        )
    there = read(Place(place.write), reference, digest)
    try:
        os.makedirs(base, mode=0o755, exist_ok=True)
        number = len(there)
        for signature in signatures:
            if signature not in there:
                number += 1
                files.write_atomic(f"{base}/signature-{number}", signature, mode=0o644)
    except OSError as error:
        raise Denied(base, f"cannot be written: {error.strerror}", hint="see its owner and mode") from error
    return base


def _append(found: list[bytes], data: bytes, reference: Reference) -> None:
    if len(found) == limits.SIGNATURES:
        raise LimitExceeded(
            str(reference), f"has more than {limits.SIGNATURES} signatures", hint="remove those of no use"
        )
    found.append(data)


def _base(url: str, reference: Reference, digest: Digest) -> tuple[str, str]:
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in ("file", "http", "https") or (parts.scheme != "file" and not parts.netloc):
        raise InvalidInput(url, "is no lookaside", hint="write file:///FOLDER or https://HOST/FOLDER")
    path = posixpath.normpath(f"{parts.path}/{reference.repository}@{digest.algorithm}={digest.encoded}")
    if parts.scheme == "file":
        return "file", urllib.parse.unquote(path)
    return parts.scheme, f"{parts.scheme}://{parts.netloc}{path}"


def _from_file(path: str) -> bytes | None:
    try:
        return read_bounded(path, limits.SIGNATURE_SIZE)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise Unavailable(path, f"cannot be read: {error.strerror}", hint="see its owner and mode") from error


def _from_server(http: Any, url: str) -> bytes | None:
    with http.request("GET", url, {}) as answer:
        if answer.status in (404, 403):
            return None
        if answer.status != 200:
            raise Unavailable(url, f"the lookaside answers {answer.status}", hint="try again later")
        return bytes(answer.read(limits.SIGNATURE_SIZE))


def _folder() -> str:
    own = os.path.join(os.environ.get("HOME") or os.path.expanduser("~"), _USER_FOLDER)
    return own if os.path.isdir(own) else SYSTEM_FOLDER


def _own_store() -> str:
    if os.geteuid() == 0:
        return _ROOT_STORE
    return os.path.join(os.environ.get("HOME") or os.path.expanduser("~"), _USER_STORE)


def _document(path: str) -> dict[str, Any]:
    import yaml

    try:
        document = yaml.load(read_bounded(path, limits.CONFIG_FILE_SIZE), Loader=_loader())  # noqa: S506
    except (OSError, yaml.YAMLError, RecursionError, ValueError) as error:
        raise InvalidInput(path, f"cannot be read: {error}"[:300], hint=_HINT) from None
    document = _mapping(document, path)
    for key in document:
        if key not in ("default-docker", "docker"):
            raise InvalidInput(path, f"no such key: {str(key)[:60]}", hint="known: default-docker, docker")
    return document


def _loader() -> Any:
    """The safe one, that takes no key twice."""
    import yaml

    class Strict(yaml.SafeLoader):
        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
            found = super().construct_mapping(node, deep=deep)
            if len(found) != len(node.value):
                raise yaml.YAMLError("a key stands twice")
            return found

    return Strict


def _place(value: object, where: str) -> Place:
    found = _mapping(value, where)
    for key in found:
        if key not in _KEYS:
            raise InvalidInput(where, f"no such key: {str(key)[:60]}", hint=f"known: {', '.join(_KEYS)}")
    switch = found.get("use-sigstore-attachments")
    if switch is not None and not isinstance(switch, bool):
        raise InvalidInput(where, "use-sigstore-attachments is neither true nor false", hint=_HINT)
    # The old names count where the new ones are absent.
    return Place(
        _text(found, "lookaside", where) or _text(found, "sigstore", where),
        _text(found, "lookaside-staging", where) or _text(found, "sigstore-staging", where),
        switch,
    )


def _text(found: dict[str, Any], key: str, where: str) -> str:
    value = found.get(key, "")
    if not isinstance(value, str):
        raise InvalidInput(where, f"{key} is not a string", hint=_HINT)
    return value


def _mapping(value: object, where: str) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InvalidInput(where, "is not a mapping", hint=_HINT)
    return value
