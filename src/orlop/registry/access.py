"""Who may do what: Basic authentication against a file of users, and rules by repository.

A file of rules has lines `WHO REPOSITORIES RIGHTS`: a user's name, `*` (every user) or `anonymous`; a pattern
in which `*` stands for any characters; `pull`, `push` and `delete`, separated by commas. What no line grants
is denied. Without such a file every user may do everything. Both files are read again when they change.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import fnmatch
import hmac
import ipaddress
import os
import threading
import time
from collections import OrderedDict
from http import HTTPStatus

from orlop.kit import files, limits
from orlop.kit.errors import InvalidInput, OrlopError
from orlop.kit.value import dataclass
from orlop.registry import passwords
from orlop.registry.errors import Refused
from orlop.registry.http import Request
from orlop.registry.settings import ANONYMOUS, RegistrySettings, address

RIGHTS = ("pull", "push", "delete")
_CHALLENGE = (("WWW-Authenticate", 'Basic realm="orlop registry", charset="UTF-8"'),)
_CHECKS = 2  # passwords hashed at the same time: guesses must not take the machine
_NOBODY = "$2y$10$abcdefghijklmnopqrstuuO5oHk1YBUW5nm0zJbY2vY3sVQZcWZ2K"  # so that unknown users take as long


@dataclass(frozen=True)
class Rule:
    """`who` may do `rights` in repositories that match `pattern`."""

    who: str
    pattern: str
    rights: tuple[str, ...]


class Access:
    """Safe for many threads. `check_password` blocks (it hashes), the rest does not.

    Whoever calls `check_password` holds `checks`: guesses shall take neither the processors nor all threads.
    """

    def __init__(self, settings: RegistrySettings) -> None:
        """Raises InvalidInput, NotFound: the files, or nobody could do anything."""
        self._settings = settings
        self._anonymous = _anonymous(settings)
        self._lock = threading.Lock()
        self.checks = asyncio.Semaphore(_CHECKS)
        self._secret = os.urandom(32)
        self._right: OrderedDict[bytes, float] = OrderedDict()
        self._stamps: tuple[object, ...] = ()
        self._users: dict[str, str] = {}
        self._rules: tuple[Rule, ...] | None = None
        self._load(self._files())

    def known(self, request: Request) -> str | None:
        """Who asks: "" for nobody in particular, None where the password is to be checked. Raises Refused."""
        if self._settings.users or self._settings.access:
            self._refresh()
        given = request.header("authorization")
        if not given or not self._settings.users:
            return ""
        user, password = _credentials(given)
        if not user and not password:  # containers' tools say so where they have none to give
            return ""
        with self._lock:
            right = self._right.get(self._key(user, password), 0.0) > time.monotonic()
        return user if right else None

    def check_password(self, request: Request) -> str:
        """Who asks, where `known` did not know. Raises Refused (UNAUTHORIZED)."""
        user, password = _credentials(request.header("authorization"))
        key = self._key(user, password)
        if not passwords.matches(password, self._users.get(user, _NOBODY)) or user not in self._users:
            raise unauthorized("wrong user or password")
        with self._lock:
            self._right[key] = time.monotonic() + limits.REGISTRY_PASSWORD_TIME
            while len(self._right) > limits.REGISTRY_PASSWORDS:
                self._right.popitem(last=False)
        return user

    def check(self, user: str, repository: str, right: str) -> None:
        """Raises Refused: UNAUTHORIZED where logging in may help, else DENIED."""
        if right != "pull" and self._settings.read_only:
            raise Refused("UNSUPPORTED", "this registry is read-only", headers=(("Allow", "GET, HEAD"),))
        if self._grants(user, repository, right):
            return
        if not user and self._settings.users:
            raise unauthorized("log in first")
        raise Refused("DENIED", f"may not {right}", details=({"name": repository},))

    def base(self, user: str, request: Request) -> None:
        """end-1: who has no name is asked for one where names exist, so that clients learn to send them."""
        if not user and self._settings.users and not (self._anonymous and request.header("authorization")):
            raise unauthorized("log in")

    def may(self, request: Request, repository: str, right: str) -> bool:
        """For a request that was let in."""
        given = request.header("authorization")
        user = _credentials(given)[0] if given and self._settings.users else ""
        return self._grants(user, repository, right)

    def _grants(self, user: str, repository: str, right: str) -> bool:
        if not user and right not in self._anonymous:
            return False
        rules = self._rules
        if rules is None:
            return True
        return any(
            right in rule.rights
            and rule.who in ((user, "*") if user else ("anonymous",))
            and fnmatch.fnmatchcase(repository, rule.pattern)
            for rule in rules
        )

    def _key(self, user: str, password: str) -> bytes:
        """What is remembered of a password that was right: not the password."""
        text = f"{user}\0{self._users.get(user, '')}\0{password}"
        return hmac.digest(self._secret, text.encode("utf-8", "replace"), "sha256")

    def _files(self) -> tuple[object, ...]:
        return tuple(_stamp(path) for path in (self._settings.users, self._settings.access) if path)

    def _refresh(self) -> None:
        """Files that became wrong leave what was known, so that nobody is let in by a mistake."""
        stamps = self._files()
        if stamps != self._stamps:
            try:
                self._load(stamps)
            except OrlopError:
                self._stamps = stamps

    def _load(self, stamps: tuple[object, ...]) -> None:
        users = passwords.read(self._settings.users) if self._settings.users else {}
        rules = read_rules(self._settings.access) if self._settings.access else None
        self._users, self._rules, self._stamps = users, rules, stamps


def read_rules(path: str) -> tuple[Rule, ...]:
    """Raises InvalidInput."""
    try:
        text = files.read_bounded(path, limits.REGISTRY_USERS_SIZE).decode()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(path, f"cannot be read: {error}", hint="see its rights and content") from error
    rules = []
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        rights = tuple(words[2].split(",")) if len(words) == 3 else ()
        if not rights or not set(rights) <= set(RIGHTS):
            raise InvalidInput(
                f"{path}, line {number}",
                "is not WHO REPOSITORIES RIGHTS",
                hint="for example: ada team/* pull,push,delete",
            )
        rules.append(Rule(words[0], words[1], rights))
    return tuple(rules)


def unauthorized(message: str) -> Refused:
    return Refused("UNAUTHORIZED", message, status=HTTPStatus.UNAUTHORIZED, headers=_CHALLENGE)


def on_loopback(listen: str) -> bool:
    """Whether only this machine reaches it."""
    if listen.startswith("unix:"):
        return True
    host = address(listen)[0]
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _anonymous(settings: RegistrySettings) -> tuple[str, ...]:
    """The rights of who has no name. Raises InvalidInput where nobody would have any."""
    chosen = settings.anonymous
    if not chosen:
        local = on_loopback(settings.listen) and not settings.users
        chosen = "all" if local else "none"
    if chosen not in ANONYMOUS:
        raise InvalidInput(f"--anonymous {chosen}", "is not known", hint=f"one of {', '.join(ANONYMOUS)}")
    if chosen == "none" and not settings.users:
        raise InvalidInput(
            settings.listen,
            "is reached by other machines, and there are no users",
            hint="give --users FILE (orlop registry passwd FILE USER), or --anonymous pull or all",
        )
    return {"none": (), "pull": ("pull",), "all": RIGHTS}[chosen]


def _credentials(given: str) -> tuple[str, str]:
    """RFC 7617. Raises Refused."""
    scheme, _, text = given.partition(" ")
    try:
        if scheme.lower() != "basic":
            raise ValueError
        user, _, password = base64.b64decode(text.strip(), validate=True).decode().partition(":")
    except (ValueError, binascii.Error) as error:
        raise unauthorized("not Basic credentials") from error
    return user, password


def _stamp(path: str) -> object:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return (found.st_mtime_ns, found.st_size, found.st_ino)
