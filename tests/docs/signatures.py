"""What the examples of sign and verify take for granted: keys, certificates, an image that is signed."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable
from pathlib import Path

from cryptography import x509

from tests.image.signing import NOW, Authority, pem, private_pem

_NAME = "registry.example.org/app:1"


def prepare_signatures(
    command: str, example: str, environment: dict[str, str], folder: Path, run: Callable[..., None]
) -> None:
    """`run` runs a command in `folder`; `environment` is changed for the example as well."""
    environment |= {"COSIGN_PASSWORD": "secret", "HOME": str(folder)}
    (folder / "secret.txt").write_text("secret\n")
    if command == "image generate-key":
        return
    run("orlop image generate-key", environment, folder)
    run(f"orlop image copy docker://busybox docker://{_NAME}", environment, folder)
    sign = "orlop image sign"
    if "gpg" in example:
        _prepare_gpg(environment, folder, run)
        run("orlop image copy docker://busybox dir:app", environment, folder)
        run(f"{sign} --gpg-key ada@example.org --identity {_NAME} dir:app", environment, folder)
    elif "--roots" in example:
        root = Authority.root()
        names = [x509.RFC822Name("ada@example.org")]
        signer = root.signer(names=names, issuer=None, start=NOW, end=NOW + dt.timedelta(days=1))
        (folder / "ca.pem").write_text(pem(root.certificate))
        (folder / "ada.pem").write_text(pem(signer.certificate))
        (folder / "ada.key").write_bytes(private_pem(signer.key))
        run(f"{sign} --key ada.key --certificate ada.pem {_NAME}", environment, folder)
    elif command == "image verify":
        run(f"{sign} --key cosign.key {_NAME}", environment, folder)
        wanted = {"type": "sigstoreSigned", "keyPath": str(folder / "cosign.pub")}
        (folder / "policy.json").write_text(json.dumps({"default": [wanted]}))


def _prepare_gpg(environment: dict[str, str], folder: Path, run: Callable[..., None]) -> None:
    environment["GNUPGHOME"] = str(folder / "g")
    (folder / "g").mkdir(mode=0o700)
    (folder / ".config/containers/registries.d").mkdir(parents=True)
    (folder / ".config/containers/registries.d/all.yaml").write_text(
        f"default-docker:\n  lookaside: file://{folder}/look\n"
    )
    gpg = "gpg --batch --pinentry-mode loopback --passphrase ''"
    run(f"{gpg} --quick-generate-key ada@example.org ed25519 sign never", environment, folder)
    run("gpg --output release.gpg --export ada@example.org", environment, folder)
