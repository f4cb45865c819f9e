"""How the tests copy: by names with a transport, against registries that speak plain HTTP."""

from __future__ import annotations

import hashlib
import json
import subprocess
from typing import Any

from orlop.image.auth import Credentials
from orlop.image.copy.by_name import copy_by_name
from orlop.image.copy.options import Copied, CopyOptions
from orlop.image.registries.model import RegistriesConf
from orlop.image.settings import ImageSettings
from orlop.image.transport.open import OpenOptions

FAST = ImageSettings(attempts=4, backoff=0.01, backoff_max=0.05)


def opening(
    credentials: Credentials | None = None, registries: RegistriesConf | None = None, **changes: Any
) -> OpenOptions:
    return OpenOptions(
        settings=FAST,
        credentials=credentials,
        tls_verify=False,
        registries=registries or RegistriesConf(),
        **changes,
    )


def copied(source: str, destination: str, *, options: OpenOptions | None = None, **asked: Any) -> Copied:
    """One copy; `asked` are CopyOptions."""
    opened = options or opening()
    return copy_by_name(
        source,
        destination,
        CopyOptions(attempts=4, backoff=0.01, **asked),
        reading=opened,
        writing=opened,
    )


def skopeo(*arguments: str, code: int = 0) -> str:
    done = subprocess.run(["skopeo", *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == code, done.stderr
    return done.stdout


def raw(name: str) -> bytes:
    """What skopeo sees there."""
    return skopeo("inspect", "--raw", "--tls-verify=false", name).encode()


def raw_json(name: str) -> Any:
    return json.loads(raw(name))


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def whole(name: str, folder: Any) -> None:
    """skopeo copies all of it: every blob and manifest is there, with its digest."""
    skopeo("copy", "--all", "--quiet", "--insecure-policy", "--src-tls-verify=false", name, f"dir:{folder}")
