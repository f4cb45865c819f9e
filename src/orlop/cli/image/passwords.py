"""Passwords of keys: from a file, from COSIGN_PASSWORD, or from the terminal."""

from __future__ import annotations

import os
import sys

from orlop.kit.errors import InvalidInput

_LONGEST = 64 * 1024


def password(file: str, *, twice: bool = False) -> bytes:
    """Raises InvalidInput where there is none to be had."""
    if file:
        from orlop.kit.files import read_bounded

        try:
            return read_bounded(file, _LONGEST).split(b"\n")[0].rstrip(b"\r")
        except OSError as error:
            raise InvalidInput(file, f"cannot be read: {error.strerror}", hint="correct the path") from error
    if "COSIGN_PASSWORD" in os.environ:
        return os.environb[b"COSIGN_PASSWORD"]
    if not sys.stdin.isatty():
        raise InvalidInput(
            "the password",
            "there is no terminal to ask for it",
            hint="set COSIGN_PASSWORD or give --password-file",
        )
    import getpass

    first = getpass.getpass("Password of the key: ")
    if twice and first != getpass.getpass("Again: "):
        raise InvalidInput("the password", "was not the same twice", hint="try again")
    return first.encode()
