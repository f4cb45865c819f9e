"""OpenPGP by gpg, in a home of its own that knows the allowed keys and nothing else."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

from orlop.image.signature.model import BadSignature
from orlop.kit import limits, process
from orlop.kit.errors import Denied, InvalidInput, NotFound, ProcessFailed

_COMMON = ("--no-options", "--batch", "--no-tty", "--no-autostart", "--disable-dirmngr")
# Words for people go nowhere: nothing that a key or a message holds can look like a status line.
_STATUS = ("--status-fd", "2", "--logger-file", "/dev/null")
_BAD = {
    "BADSIG": "is wrong",
    "EXPSIG": "has expired",
    "EXPKEYSIG": "is by a key that has expired",
    "REVKEYSIG": "is by a key that was revoked",
    "ERRSIG": "is by a key that is not allowed, or of a kind that gpg does not know",
    "BEGIN_DECRYPTION": "is encrypted",
    "ENC_TO": "is encrypted",
}
_VALID_PRIMARY = 9  # VALIDSIG's field with the primary key's fingerprint


class Keyring:
    """OpenPGP keys, imported once. A context manager: its home is a temporary folder."""

    def __init__(self, keys: Iterable[bytes], subject: str) -> None:
        self._keys = tuple(keys)
        self._subject = subject
        self._home = ""
        self.fingerprints: frozenset[str] = frozenset()

    def __enter__(self) -> Keyring:
        import tempfile

        self._home = tempfile.mkdtemp(prefix="orlop-gpg-")
        try:
            found: set[str] = set()
            for data in self._keys:
                found |= self._imported(data)
            self.fingerprints = frozenset(found)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        import shutil

        shutil.rmtree(self._home, ignore_errors=True)

    def verify(self, message: bytes) -> tuple[bytes, str, int]:
        """(what is signed, the primary key's fingerprint, when). Raises BadSignature."""
        if len(message) > limits.SIGNATURE_SIZE:
            raise BadSignature(f"it is longer than {limits.SIGNATURE_SIZE} bytes")
        arguments = ("--trust-model", "always", "--no-auto-key-locate", "--no-auto-key-retrieve")
        sizes = ("--max-output", str(limits.SIGNATURE_SIZE))
        done = self._gpg((*arguments, *sizes, "--output", "-", "--decrypt"), message)
        told = _status(done.stderr)
        for word, cause in _BAD.items():
            if word in told:
                raise BadSignature(f"it {cause}")
        valid = told.get("VALIDSIG", [])
        if done.status or len(valid) != 1 or len(told.get("GOODSIG", [])) != 1:
            raise BadSignature("it is no message with one good signature")
        fields = valid[0].split()
        if len(fields) <= _VALID_PRIMARY or fields[_VALID_PRIMARY] not in self.fingerprints:
            raise BadSignature("it is by a key that is not allowed")
        stamp = int(fields[2]) if fields[2].isdigit() else 0
        return done.stdout, fields[_VALID_PRIMARY], stamp

    def _imported(self, data: bytes) -> set[str]:
        done = self._gpg(("--import",), data)
        found = {line.split()[1] for line in _status(done.stderr).get("IMPORT_OK", []) if " " in line}
        if not found:
            raise InvalidInput(self._subject, "has no OpenPGP key", hint="export it: gpg --export FPR > FILE")
        return found

    def _gpg(self, arguments: tuple[str, ...], data: bytes) -> process.Completed:
        argv = ("gpg", "--homedir", self._home, *_COMMON, *_STATUS, *arguments)
        return _run(argv, data, process.MINIMAL_ENV)


def sign(payload: bytes, key: str, passphrase: bytes = b"") -> bytes:
    """The message, by a key of the user's own keyring. Raises Denied with gpg's words."""
    argv = ["gpg", "--batch", "--no-tty", "--local-user", key, "--output", "-"]
    passed: tuple[int, ...] = ()
    reading = -1
    if passphrase:
        reading, writing = os.pipe()
        os.write(writing, passphrase.rstrip(b"\n") + b"\n")
        os.close(writing)
        argv += ["--pinentry-mode", "loopback", "--passphrase-fd", str(reading)]
        passed = (reading,)
    own = ("HOME", "GNUPGHOME", "PATH", "GPG_TTY", "XDG_RUNTIME_DIR")
    env = {**process.MINIMAL_ENV, **{name: os.environ[name] for name in own if name in os.environ}}
    try:
        return _run((*argv, "--sign"), payload, env, check=True, passed=passed).stdout
    except ProcessFailed as error:
        raise Denied(
            f"key {key}", f"gpg does not sign: {error.cause}", hint="see: gpg --list-secret-keys"
        ) from error
    finally:
        if reading >= 0:
            os.close(reading)


def _run(
    argv: tuple[str, ...],
    data: bytes,
    env: Mapping[str, str],
    *,
    check: bool = False,
    passed: tuple[int, ...] = (),
) -> process.Completed:
    try:
        return process.run(
            argv, stdin=data, env=env, check=check, timeout=limits.GPG_TIMEOUT, pass_fds=passed
        )
    except NotFound as error:
        raise NotFound("gpg", "no such program", hint="install GnuPG: apt-get install gpg") from error


def _status(text: bytes) -> dict[str, list[str]]:
    """gpg's own words on its status lines (doc/DETAILS): keyword -> the rests of its lines."""
    found: dict[str, list[str]] = {}
    for line in text.decode(errors="replace").splitlines():
        if line.startswith("[GNUPG:] "):
            word, _, rest = line.removeprefix("[GNUPG:] ").partition(" ")
            found.setdefault(word, []).append(rest)
    return found
