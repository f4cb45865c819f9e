"""policy.json, strictly: a key that is unknown, missing, of another type or said twice refuses the file."""

from __future__ import annotations

import binascii
import posixpath

from orlop.image import documents
from orlop.image.policy import model
from orlop.image.policy.model import (
    AcceptAnything,
    Fulcio,
    IdentityRule,
    Material,
    Pki,
    Policy,
    Reject,
    Requirement,
    Requirements,
    SignedBy,
    SigstoreSigned,
)
from orlop.image.reference import Reference, check_registry, check_repository
from orlop.kit.errors import Corrupt, InvalidInput, OrlopError

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from typing import Any

_HINT = "correct the file: containers-policy.json(5)"
_FOLDERS = ("dir", "oci", "oci-archive")  # transports whose scopes are paths
_PLAIN_RULES = (
    model.MATCH_EXACT,
    model.MATCH_REPO_DIGEST_OR_EXACT,
    model.MATCH_REPOSITORY,
    model.MATCH_DIGEST,
)


def parse(data: bytes, path: str = "policy.json") -> Policy:
    """Raises InvalidInput naming the file and the place in it."""
    try:
        document = documents.read_object(data, path)
    except Corrupt as error:
        raise InvalidInput(path, error.cause, hint=_HINT) from None
    found = _Object(document, path, ("default", "transports"))
    transports = found.objects("transports")
    return Policy(
        path,
        _requirements(found.required("default"), f"{path}: default"),
        {
            name: {
                _scope(name, scope, f"{path}: {name}"): _requirements(value, f"{path}: {name}: {scope!r}")
                for scope, value in scopes.items()
            }
            for name, scopes in transports.items()
        },
    )


class _Object:
    """A JSON object that has no other keys than these."""

    def __init__(self, document: dict[str, Any], where: str, known: tuple[str, ...]) -> None:
        for key in document:
            if key not in known:
                raise InvalidInput(where, f"no such key: {key!r}", hint=f"known keys: {', '.join(known)}")
        self._document = document
        self._where = where

    def required(self, key: str) -> Any:
        if key not in self._document:
            raise InvalidInput(self._where, f"lacks {key!r}", hint=_HINT)
        return self._document[key]

    def text(self, key: str, *, required: bool = False) -> str:
        """A string that is not empty; "" where there is no such key."""
        if key not in self._document and not required:
            return ""
        value = self.required(key)
        if not isinstance(value, str) or not value:
            raise InvalidInput(self._where, f"{key!r} is not a string with something in it", hint=_HINT)
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        if key not in self._document:
            return ()
        value = self._document[key]
        if not isinstance(value, list) or not value or not all(isinstance(v, str) and v for v in value):
            raise InvalidInput(self._where, f"{key!r} is not a list of strings", hint=_HINT)
        return tuple(value)

    def object(self, key: str) -> dict[str, Any] | None:
        if key not in self._document:
            return None
        value = self._document[key]
        if not isinstance(value, dict):
            raise InvalidInput(self._where, f"{key!r} is not an object", hint=_HINT)
        return value

    def objects(self, key: str) -> dict[str, dict[str, Any]]:
        value = self.object(key) or {}
        if not all(isinstance(inner, dict) for inner in value.values()):
            raise InvalidInput(self._where, f"{key!r} is not an object of objects", hint=_HINT)
        return value

    def material(self, name: str, *, many: bool = True, required: bool = True) -> Material:
        """`namePath`, `namePaths`, `nameData` or `nameDatas`: exactly one of them, or none."""
        path, data = self.text(f"{name}Path"), self.text(f"{name}Data")
        paths = self.texts(f"{name}Paths") if many else ()
        datas = self.texts(f"{name}Datas") if many else ()
        given = [value for value in (path, data, paths, datas) if value]
        if len(given) > 1 or (required and not given):
            which = f"{name}Path, {name}Data" + (f", {name}Paths, {name}Datas" if many else "")
            raise InvalidInput(self._where, f"has {len(given)} of {which}", hint="give exactly one of them")
        encoded = datas or ((data,) if data else ())
        return Material(paths or ((path,) if path else ()), tuple(map(self._decoded, encoded)))

    def _decoded(self, text: str) -> bytes:
        try:
            return binascii.a2b_base64(text.encode("ascii"), strict_mode=True)
        except ValueError as error:
            raise InvalidInput(self._where, f"has data that is not base64: {error}", hint=_HINT) from None


def _requirements(value: Any, where: str) -> Requirements:
    if not isinstance(value, list) or not value:
        raise InvalidInput(where, "is not a list of requirements", hint='write [{"type": "reject"}]')
    return tuple(_requirement(item, f"{where}: [{place}]") for place, item in enumerate(value))


def _requirement(value: Any, where: str) -> Requirement:
    kind = value.get("type") if isinstance(value, dict) else None
    known = {
        "insecureAcceptAnything": _accept,
        "reject": _reject,
        "signedBy": _signed_by,
        "sigstoreSigned": _sigstore_signed,
    }
    if not isinstance(kind, str) or kind not in known:
        raise InvalidInput(where, f"has the type {str(kind)[:60]!r}", hint=f"one of {', '.join(known)}")
    return known[kind](value, f"{where} ({kind})")


def _accept(value: dict[str, Any], where: str) -> Requirement:
    _Object(value, where, ("type",))
    return AcceptAnything()


def _reject(value: dict[str, Any], where: str) -> Requirement:
    _Object(value, where, ("type",))
    return Reject()


def _signed_by(value: dict[str, Any], where: str) -> Requirement:
    found = _Object(value, where, ("type", "keyType", "keyPath", "keyPaths", "keyData", "signedIdentity"))
    kind = found.text("keyType", required=True)
    if kind != "GPGKeys":
        raise InvalidInput(where, f"keyType {kind!r} is not supported", hint="use GPGKeys")
    return SignedBy(found.material("key"), _rule(found.object("signedIdentity"), where))


def _sigstore_signed(value: dict[str, Any], where: str) -> Requirement:
    rekor = ("rekorPublicKeyPath", "rekorPublicKeyPaths", "rekorPublicKeyData", "rekorPublicKeyDatas")
    keys = ("keyPath", "keyPaths", "keyData", "keyDatas")
    found = _Object(value, where, ("type", *keys, "fulcio", "pki", *rekor, "signedIdentity"))
    material = found.material("key", required=False)
    fulcio, pki = found.object("fulcio"), found.object("pki")
    if sum((bool(material), fulcio is not None, pki is not None)) != 1:
        raise InvalidInput(where, "needs keys, fulcio or pki", hint="give exactly one of them")
    log = found.material("rekorPublicKey", required=False)
    if fulcio is not None and not log:
        raise InvalidInput(
            where,
            "has fulcio without a key of the log",
            hint="give rekorPublicKeyPath: it is the log that says when the certificate was used",
        )
    if pki is not None and log:
        raise InvalidInput(where, "has pki and a key of the log", hint="leave rekorPublicKey out")
    return SigstoreSigned(
        material,
        None if fulcio is None else _fulcio(fulcio, f"{where}: fulcio"),
        None if pki is None else _pki(pki, f"{where}: pki"),
        log,
        _rule(found.object("signedIdentity"), where),
    )


def _fulcio(value: dict[str, Any], where: str) -> Fulcio:
    found = _Object(value, where, ("caPath", "caData", "oidcIssuer", "subjectEmail"))
    return Fulcio(
        found.material("ca", many=False),
        found.text("oidcIssuer", required=True),
        found.text("subjectEmail", required=True),
    )


def _pki(value: dict[str, Any], where: str) -> Pki:
    authorities = ("caRootsPath", "caRootsData", "caIntermediatesPath", "caIntermediatesData")
    found = _Object(value, where, (*authorities, "subjectEmail", "subjectHostname"))
    email, hostname = found.text("subjectEmail"), found.text("subjectHostname")
    if not email and not hostname:
        raise InvalidInput(where, "says nothing of the subject", hint="give subjectEmail or subjectHostname")
    return Pki(
        found.material("caRoots", many=False),
        found.material("caIntermediates", many=False, required=False),
        email,
        hostname,
    )


def _rule(value: dict[str, Any] | None, where: str) -> IdentityRule:
    if value is None:
        return IdentityRule()
    where = f"{where}: signedIdentity"
    kind = value.get("type")
    if kind in _PLAIN_RULES:
        _Object(value, where, ("type",))
        return IdentityRule(kind)
    if kind == model.EXACT_REFERENCE:
        text = _Object(value, where, ("type", "dockerReference")).text("dockerReference", required=True)
        reference = _reference(text, where)
        if not (text.endswith(f":{reference.tag}") and reference.tag) and reference.digest is None:
            raise InvalidInput(where, f"{text!r} has neither tag nor digest", hint="give the whole reference")
        return IdentityRule(kind, reference.canonical)
    if kind == model.EXACT_REPOSITORY:
        text = _Object(value, where, ("type", "dockerRepository")).text("dockerRepository", required=True)
        return IdentityRule(kind, _reference(text, where).name)
    if kind == model.REMAP:
        found = _Object(value, where, ("type", "prefix", "signedPrefix"))
        prefixes = found.text("prefix", required=True), found.text("signedPrefix", required=True)
        for prefix in prefixes:
            _check_prefix(prefix, where)
        return IdentityRule(kind, "", *prefixes)
    known = (*_PLAIN_RULES, model.EXACT_REFERENCE, model.EXACT_REPOSITORY, model.REMAP)
    raise InvalidInput(where, f"has the type {str(kind)[:60]!r}", hint=f"one of {', '.join(known)}")


def _reference(text: str, where: str) -> Reference:
    try:
        return Reference.parse(text)
    except OrlopError as error:
        raise InvalidInput(where, str(error), hint=_HINT) from None


def _check_prefix(prefix: str, where: str) -> None:
    """host[:port][/namespace...], as it begins a repository's name."""
    registry, slash, rest = prefix.partition("/")
    try:
        check_registry(registry, prefix)
        if slash:
            check_repository(rest, prefix)
    except OrlopError as error:
        raise InvalidInput(where, str(error), hint=_HINT) from None


def _scope(transport: str, scope: str, where: str) -> str:
    """Raises InvalidInput for a scope that could never be met."""
    if scope == "":
        return scope
    if transport == "docker-archive":
        raise InvalidInput(where, f"{scope!r}: it has no scopes", hint='use the scope ""')
    if transport in _FOLDERS and (
        not scope.startswith("/") or scope == "/" or posixpath.normpath(scope) != scope
    ):
        raise InvalidInput(
            where, f"{scope!r} is not a whole path", hint='begin it with /, without . and ..; "" is all'
        )
    return scope
