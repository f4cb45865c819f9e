"""`orlop image generate-key`."""

from __future__ import annotations

import argparse
import os

from orlop.cli.context import Context
from orlop.cli.output import emit
from orlop.cli.parser import Parser

DESCRIPTION = """A new key for `image sign`, in the form of cosign: PREFIX.key, encrypted with a password, and
PREFIX.pub. The password is asked for, or read from a file or COSIGN_PASSWORD. Files that are there are
left alone."""
EXAMPLES = (
    "orlop image generate-key",
    "orlop image generate-key --password-file secret.txt --prefix release",
)
JSON = """an object: `key` and `public_key` (paths), `fingerprint` (SHA-256 of the public key)."""


def add_arguments(parser: Parser) -> None:
    add = parser.add_argument
    add("--prefix", metavar="PREFIX", default="cosign", help="of the two files (default: cosign)")
    add("--password-file", metavar="FILE", default="", help="the password is its first line")


def run(context: Context, arguments: argparse.Namespace) -> int:
    from orlop.cli.image.passwords import password
    from orlop.image.signature import keys, private_key

    paths = [f"{arguments.prefix}.key", f"{arguments.prefix}.pub"]
    for path in paths:
        if os.path.lexists(path):
            from orlop.kit.errors import Conflict

            raise Conflict(path, "is there already", hint="give another --prefix, or remove it")
    secret, public = private_key.generate(password(arguments.password_file, twice=True))
    for path, data, mode in ((paths[0], secret, 0o600), (paths[1], public, 0o644)):
        _write(path, data, mode)
    fingerprint = keys.fingerprint(keys.public_keys(public, paths[1])[0])
    if context.json:
        emit({"key": paths[0], "public_key": paths[1], "fingerprint": fingerprint})
    else:
        print("\n".join(paths))
    return 0


def _write(path: str, data: bytes, mode: int) -> None:
    from orlop.kit.errors import InvalidInput

    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        with open(descriptor, "wb") as stream:
            stream.write(data)
    except OSError as error:
        raise InvalidInput(
            path, f"cannot be written: {error.strerror}", hint="choose another --prefix"
        ) from error
