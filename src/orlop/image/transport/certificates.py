"""TLS per host: containers-certs.d(5).

    /etc/containers/certs.d/HOST[:PORT]/*.crt          further authorities
    /etc/containers/certs.d/HOST[:PORT]/NAME.cert,key  a client's certificate and its key

The user's folder comes first, then /etc/containers, then /etc/docker; the first that has the host counts.
"""

from __future__ import annotations

import os
import ssl

from orlop.kit.errors import InvalidInput


def folders() -> list[str]:
    home = os.path.expanduser("~")
    return [f"{home}/.config/containers/certs.d", "/etc/containers/certs.d", "/etc/docker/certs.d"]


def context_for(host: str, *, verify: bool, folder: str = "") -> ssl.SSLContext:
    """The TLS context for `host` ("name" or "name:port"); `folder` is taken instead of the usual ones.

    Raises InvalidInput for unusable files.
    """
    context = ssl.create_default_context()
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if folder:
        _load(context, folder)
        return context
    if os.sep in host or host in ("", ".", ".."):
        return context
    name = "docker.io" if host == "registry-1.docker.io" else host
    for base in folders():
        folder = os.path.join(base, name)
        if os.path.isdir(folder):
            _load(context, folder)
            break
    return context


def _load(context: ssl.SSLContext, folder: str) -> None:
    try:
        names = sorted(os.listdir(folder))
    except OSError as error:
        raise InvalidInput(folder, f"cannot be read: {error.strerror}", hint="name a folder") from error
    for name in names:
        path = os.path.join(folder, name)
        stem, extension = os.path.splitext(path)
        try:
            if extension == ".crt":
                context.load_verify_locations(cafile=path)
            elif extension == ".cert":
                if os.path.basename(stem) + ".key" not in names:
                    raise InvalidInput(path, "has no key beside it", hint=f"put the key at {stem}.key")
                context.load_cert_chain(path, stem + ".key")
            elif extension == ".key" and os.path.basename(stem) + ".cert" not in names:
                raise InvalidInput(
                    path,
                    "has no certificate beside it",
                    hint=f"put it at {stem}.cert (authorities are *.crt)",
                )
        except (OSError, ssl.SSLError) as error:
            raise InvalidInput(path, f"cannot be used: {error}", hint="it must be readable PEM") from error
