"""Answers to a registry's challenge: Basic, or Bearer tokens as the distribution project specifies them.

(distribution: "Token Authentication Specification", "OAuth2 Token Authentication".)
"""

from __future__ import annotations

import base64
import json
import threading
import time
import urllib.parse
from collections.abc import Callable
from typing import Any

from orlop.image.auth import Credentials
from orlop.image.transport.challenge import Challenge
from orlop.image.transport.http import Answer, Http, origin
from orlop.kit import limits
from orlop.kit.errors import Corrupt, Denied

_TOKEN_BODY = limits.MIB
_SECONDS = 60.0  # of a token that does not say how long it lives
_MARGIN = 10.0  # renewed this long before it ends
_CLIENT = "orlop"

Send = Callable[[Callable[[], Answer]], Answer]


class Authenticator:
    """Headers for one registry and its scopes (parted by spaces, none to be told only who one is).

    Tokens are kept until shortly before they expire.
    """

    def __init__(
        self, http: Http, registry: str, scope: str, credentials: Credentials | None, *, insecure: bool
    ) -> None:
        self._http = http
        self._registry = registry
        self._scope = scope
        self._credentials = credentials
        self._insecure = insecure
        self._lock = threading.Lock()
        self._challenge: Challenge | None = None
        self._secure_realm = True
        self._token = ""
        self._expires = 0.0

    @property
    def has_credentials(self) -> bool:
        return self._credentials is not None

    def learn(self, challenges: list[Challenge], url: str) -> bool:
        """Take the first challenge that can be answered; False where there is none.

        `url` is where it came from: a realm on plain http is refused where that was https.
        """
        for challenge in challenges:
            bearer = self._given() or challenge.parameters.get("realm")
            if (challenge.scheme == "bearer" and bearer) or (
                challenge.scheme == "basic" and self._has_password()
            ):
                with self._lock:
                    self._challenge = challenge
                    self._secure_realm = url.startswith("https:")
                    self._token, self._expires = "", 0.0
                return True
        return False

    def forget(self, header: str) -> None:
        """The registry refused `header`: the next one is fetched anew."""
        with self._lock:
            if header == f"Bearer {self._token}":
                self._token = ""

    def header(self, send: Send) -> str:
        """The Authorization header, "" for none. `send` runs a request with retries. Raises as it does."""
        with self._lock:
            if self._challenge is None:
                return ""
            if self._challenge.scheme == "basic":
                return self._basic()
            if self._given():
                return f"Bearer {self._given()}"
            if not self._token or time.monotonic() >= self._expires:
                self._renew(self._challenge, send)
            return f"Bearer {self._token}"

    def _given(self) -> str:
        """The token that the caller brought: nobody needs to be asked for one."""
        return self._credentials.registry_token if self._credentials else ""

    def _has_password(self) -> bool:
        own = self._credentials
        return own is not None and not (own.identity_token or own.registry_token)

    def _basic(self) -> str:
        credentials = self._credentials
        if credentials is None or not (credentials.user or credentials.password):
            return ""
        pair = f"{credentials.user}:{credentials.password}"
        return "Basic " + base64.b64encode(pair.encode()).decode()

    def _renew(self, challenge: Challenge, send: Send) -> None:
        realm = self._checked_realm(challenge.parameters["realm"])
        service = challenge.parameters.get("service", "")
        identity = self._credentials.identity_token if self._credentials else ""
        if identity:
            answer = send(lambda: self._post(realm, service, identity))
        else:
            answer = send(lambda: self._get(realm, service))
        if answer.status != 200:
            raise self._refused(answer)
        self._take(answer.read(_TOKEN_BODY), realm)

    def _checked_realm(self, realm: str) -> str:
        """Credentials go nowhere but to an http(s) URL, and to https where the registry spoke it."""
        try:
            scheme, host, _ = origin(realm)
            userinfo = "@" in urllib.parse.urlsplit(realm).netloc
        except ValueError:
            scheme, host, userinfo = "", "", False
        if scheme not in ("http", "https") or not host or userinfo:
            raise Corrupt(
                self._registry,
                f"its token realm {realm[:200]!r} is no usable URL",
                hint="the registry is misconfigured",
            )
        if scheme == "http" and self._secure_realm and not self._insecure:
            raise Denied(
                self._registry,
                f"asks to send credentials over plain http to {host}",
                hint="have the registry's realm repaired, or set insecure = true for it in registries.conf",
            )
        return realm

    def _get(self, realm: str, service: str) -> Answer:
        query = [("service", service), *(("scope", scope) for scope in self._scope.split())]
        if self._credentials and self._credentials.user:
            query.append(("account", self._credentials.user))
        separator = "&" if urllib.parse.urlsplit(realm).query else "?"
        url = realm + separator + urllib.parse.urlencode([(key, value) for key, value in query if value])
        basic = self._basic()
        headers = {"Authorization": basic} if basic else {}
        return self._http.request("GET", url, headers, insecure=self._insecure)

    def _post(self, realm: str, service: str, identity: str) -> Answer:
        form = {
            "grant_type": "refresh_token",
            "service": service,
            "scope": self._scope,
            "client_id": _CLIENT,
            "refresh_token": identity,
        }
        form = {key: value for key, value in form.items() if value}
        return self._http.request("POST", realm, {}, insecure=self._insecure, form=form, follow=False)

    def _refused(self, answer: Answer) -> Denied:
        answer.close()
        host = urllib.parse.urlsplit(answer.url).netloc
        if self._credentials is None:
            cause, hint = "wants credentials", f"log in: orlop login {self._registry}"
        else:
            cause, hint = "rejects the credentials", f"check those for {self._registry} in auth.json"
        return Denied(self._registry, f"its token server {host} {cause} (status {answer.status})", hint=hint)

    def _take(self, body: bytes, realm: str) -> None:
        try:
            answer: Any = json.loads(body)
            token = answer.get("token") or answer.get("access_token")
            lifetime = answer.get("expires_in") or _SECONDS
        except (ValueError, AttributeError, RecursionError):
            token, lifetime = None, _SECONDS
        if not isinstance(token, str) or not token or not token.isascii() or not token.isprintable():
            raise Corrupt(
                self._registry, f"no token in the answer of {realm[:200]}", hint="see what it serves"
            )
        if not isinstance(lifetime, int | float) or lifetime != lifetime:
            lifetime = _SECONDS
        self._token = token
        self._expires = time.monotonic() + max(0.0, float(min(lifetime, 86400)) - _MARGIN)
