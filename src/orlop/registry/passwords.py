"""Files of users as htpasswd(1) writes them, checked by libcrypt(3): bcrypt, yescrypt, sha512crypt.

docker-registry's files have bcrypt ($2y$); Python's own `crypt` is gone from 3.13 on, so the library that
login(1) uses on this machine is called itself. Weak forms (plain, {SHA}, $apr1$, DES) are refused.
"""

from __future__ import annotations

import ctypes
import hmac
import os

from orlop.kit import files, limits
from orlop.kit.errors import InvalidInput, NotFound, Unsupported

_STRONG = ("$2a$", "$2b$", "$2y$", "$y$", "$gy$", "$7$", "$6$", "$5$")
_DATA = 32768  # sizeof(struct crypt_data)
_COST = 10  # bcrypt's: 2**10 rounds, some 50 ms
_SALT = 16  # random bytes
_BCRYPT_MOST = 72  # bytes of a password that bcrypt looks at


def hashed(password: str) -> str:
    """A new bcrypt hash. Raises InvalidInput (empty or too long), Unsupported (no libcrypt)."""
    data = password.encode()
    if not data or len(data) > _BCRYPT_MOST or b"\0" in data:
        raise InvalidInput(
            "the password", f"has {len(data)} bytes", hint=f"1 to {_BCRYPT_MOST}, as bcrypt has it"
        )
    setting = ctypes.create_string_buffer(192)
    random = os.urandom(_SALT)
    library = _library()
    library.crypt_gensalt_rn.restype = ctypes.c_char_p
    made = library.crypt_gensalt_rn(
        b"$2y$", ctypes.c_ulong(_COST), random, len(random), setting, len(setting)
    )
    if not made:
        raise _unable()
    return _crypt(data, made).decode("ascii")


def matches(password: str, entry: str) -> bool:
    """Whether the password is the one whose hash this is; takes as long however wrong it is."""
    data = password.encode("utf-8", "surrogateescape")
    if b"\0" in data:
        return False
    try:
        found = _crypt(data, entry.encode("ascii"))
    except (UnicodeEncodeError, ValueError):
        return False
    return hmac.compare_digest(found, entry.encode("ascii"))


def read(path: str) -> dict[str, str]:
    """User -> hash. Raises NotFound, InvalidInput (a line that is none, a weak hash)."""
    try:
        text = files.read_bounded(path, limits.REGISTRY_USERS_SIZE).decode()
    except (FileNotFoundError, NotADirectoryError):
        raise NotFound(
            path, "is not there", hint=f"make it with: orlop registry passwd {path} USER"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(path, f"cannot be read: {error}", hint="see its rights and content") from error
    users: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        user, colon, entry = line.strip().partition(":")
        if not user or not colon or not entry.startswith(_STRONG):
            raise InvalidInput(
                f"{path}, line {number}",
                "is not USER:HASH with a hash that is good enough",
                hint=f"write it with: orlop registry passwd {path} USER (or htpasswd -B)",
            )
        users[user] = entry
    return users


def write(path: str, user: str, password: str | None) -> bool:
    """Set the user's password, or with None take the user away; whether there was such a user.

    Raises InvalidInput, NotFound (nobody to take away), Unsupported.
    """
    if not user or ":" in user or not user.isprintable() or user.startswith("#"):
        raise InvalidInput(f"user {user!r}", "is no name", hint="without colons, not beginning with #")
    users = read(path) if os.path.exists(path) else {}
    known = user in users
    if password is not None:
        users[user] = hashed(password)
    elif known:
        del users[user]
    else:
        raise NotFound(f"user {user}", f"is not in {path}", hint="see its first column")
    text = "".join(f"{name}:{entry}\n" for name, entry in users.items())
    files.write_atomic(path, text.encode(), mode=0o600)
    return known


def _crypt(password: bytes, setting: bytes) -> bytes:
    """crypt_rn(3). Raises ValueError where the setting is none."""
    library = _library()
    library.crypt_rn.restype = ctypes.c_char_p
    data = ctypes.create_string_buffer(_DATA)
    found: bytes | None = library.crypt_rn(password, setting, data, _DATA)
    if not found or found.startswith(b"*"):
        raise ValueError("not a setting of crypt(3)")
    return found


def _library() -> ctypes.CDLL:
    try:
        return ctypes.CDLL("libcrypt.so.1")
    except OSError as error:
        raise _unable() from error


def _unable() -> Unsupported:
    return Unsupported("libcrypt.so.1", "cannot hash passwords here", hint="install libcrypt1 (libxcrypt)")
