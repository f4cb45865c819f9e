"""Debian's docker-registry on a free loopback port: plain or TLS, open, with passwords or with tokens.

    with registry(tls=True, users={"ship": "cargo"}) as running:
        running.address          # "127.0.0.1:40123"

`/usr/bin/docker-registry` is a child of the test process, dies with it, and is stopped by its pid.
"""

from __future__ import annotations

import base64
import contextlib
import ctypes
import datetime as dt
import hashlib
import http.server
import ipaddress
import json
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import threading
import time
import urllib.parse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

PROGRAM = "/usr/bin/docker-registry"
_STARTS = 5
_READY_SECONDS = 30.0


class Authority:
    """A certificate authority of one test: `ca.crt` in `folder`, and what it issued beside it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name(
            [x509.NameAttribute(NameOID.COMMON_NAME, f"Orlop tests {secrets.token_hex(4)}")]
        )
        self._certificate = (
            _builder(self._name, self._name, self._key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs_certificates=True), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.file = folder / "ca.crt"
        self.file.write_bytes(self._certificate.public_bytes(serialization.Encoding.PEM))

    def issue(self, name: str, *, client: bool = False) -> tuple[Path, Path]:
        """A certificate and its key for 127.0.0.1, ::1 and localhost (or for a client): (file, key file)."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        purpose = ExtendedKeyUsageOID.CLIENT_AUTH if client else ExtendedKeyUsageOID.SERVER_AUTH
        names = [
            x509.DNSName("localhost"),
            x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
            x509.IPAddress(ipaddress.ip_address("::1")),
        ]
        certificate = (
            _builder(subject, self._name, key.public_key())
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False
            )
            .sign(self._key, hashes.SHA256())
        )
        certificate_file, key_file = self.folder / f"{name}.cert", self.folder / f"{name}.key"
        certificate_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        key_file.write_bytes(_pem(key))
        return certificate_file, key_file


def _builder(
    subject: x509.Name, issuer: x509.Name, public: ec.EllipticCurvePublicKey | rsa.RSAPublicKey
) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=30))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


class TokenServer:
    """Docker's token protocol (GET with Basic, POST with OAuth 2), for one registry, in a thread.

    `users` may do everything; others may pull where `anonymous_pull`. `refresh_tokens` maps identity tokens
    to users. `requests` records (method, path with query or form, authorization header or None).
    """

    def __init__(
        self, folder: Path, users: Mapping[str, str], *, anonymous_pull: bool = False, expires_in: int = 300
    ) -> None:
        self.users = dict(users)
        self.anonymous_pull = anonymous_pull
        self.expires_in = expires_in
        self.refresh_tokens: dict[str, str] = {}
        self.requests: list[tuple[str, str, str | None]] = []
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "token")])
        certificate = (
            _builder(name, name, self._key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs_certificates=True), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.bundle = folder / "token.crt"
        self.bundle.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        self._x5c = base64.b64encode(certificate.public_bytes(serialization.Encoding.DER)).decode()
        self._server = _TokenHTTPServer(("127.0.0.1", 0), _TokenHandler)
        self._server.tokens = self
        self.realm = f"http://127.0.0.1:{self._server.server_address[1]}/token"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def user_of(self, authorization: str | None) -> str | None:
        """The user of a Basic header; raises PermissionError where the password is wrong."""
        if not authorization:
            return None
        user, _, password = base64.b64decode(authorization.removeprefix("Basic ")).decode().partition(":")
        if self.users.get(user) != password:
            raise PermissionError(user)
        return user

    def token(self, user: str | None, service: str, scopes: list[str]) -> str:
        now = int(time.time())
        access = []
        for scope in scopes:
            kind, name, actions = scope.split(":", 2)
            allowed = actions.split(",") if user else (["pull"] if self.anonymous_pull else [])
            access.append(
                {"type": kind, "name": name, "actions": [a for a in actions.split(",") if a in allowed]}
            )
        claims = {
            "iss": "orlop-tests",
            "sub": user or "",
            "aud": service,
            "exp": now + self.expires_in,
            "nbf": now - 10,
            "iat": now,
            "jti": secrets.token_hex(8),
            "access": access,
        }
        head = {"typ": "JWT", "alg": "RS256", "x5c": [self._x5c]}
        signed = f"{_base64url(json.dumps(head).encode())}.{_base64url(json.dumps(claims).encode())}"
        signature = self._key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
        return f"{signed}.{_base64url(signature)}"


class _TokenHTTPServer(http.server.ThreadingHTTPServer):
    tokens: TokenServer


class _TokenHandler(http.server.BaseHTTPRequestHandler):
    server: _TokenHTTPServer
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002 (the base class names it)
        pass

    def do_GET(self) -> None:
        tokens = self.server.tokens
        authorization = self.headers.get("Authorization")
        tokens.requests.append(("GET", self.path, authorization))
        query = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query)
        try:
            user = tokens.user_of(authorization)
        except PermissionError:
            self._answer(401, {"errors": [{"code": "UNAUTHORIZED", "message": "wrong password"}]})
            return
        token = tokens.token(user, query.get("service", [""])[0], _scopes(query))
        self._answer(200, {"token": token, "expires_in": tokens.expires_in})

    def do_POST(self) -> None:
        tokens = self.server.tokens
        body = self.rfile.read(int(self.headers.get("Content-Length", "0"))).decode()
        tokens.requests.append(("POST", body, self.headers.get("Authorization")))
        form = urllib.parse.parse_qs(body)
        user = tokens.refresh_tokens.get(form.get("refresh_token", [""])[0])
        if form.get("grant_type") != ["refresh_token"] or user is None:
            self._answer(401, {"error": "invalid_grant"})
            return
        token = tokens.token(user, form.get("service", [""])[0], _scopes(form))
        self._answer(200, {"access_token": token, "expires_in": tokens.expires_in})

    def _answer(self, status: int, document: object) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _scopes(query: Mapping[str, list[str]]) -> list[str]:
    return [scope for value in query.get("scope", []) for scope in value.split()]


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@dataclass
class Registry:
    """A running registry. `address` is HOST:PORT as it stands in references; `folder` its own temp folder."""

    address: str
    scheme: str
    folder: Path
    pid: int
    authority: Authority | None = None
    client_certificate: tuple[Path, Path] | None = None  # what this registry demands of clients
    users: Mapping[str, str] = field(default_factory=dict)
    tokens: TokenServer | None = None

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.address}"

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    @property
    def credentials(self) -> tuple[str, str] | None:
        """The first user and the password."""
        return next(iter(self.users.items()), None)

    def reference(self, name: str) -> str:
        """`name` (repository:tag) as a reference into this registry."""
        return f"{self.address}/{name}"

    def requests(self, text: str) -> int:
        """How many requests the log has whose line contains `text` (`GET /v2/...`)."""
        return sum(text in line for line in self.log.splitlines())

    def auth_json(self, path: Path) -> Path:
        """Write an auth.json with this registry's first user; returns `path`."""
        assert self.credentials is not None
        encoded = base64.b64encode(":".join(self.credentials).encode()).decode()
        path.write_text(json.dumps({"auths": {self.address: {"auth": encoded}}}))
        return path

    def certs_d(self, folder: Path) -> Path:
        """Write FOLDER/HOST:PORT/{ca.crt,client.cert,client.key} as containers-certs.d(5) has it."""
        assert self.authority is not None
        host = folder / self.address
        host.mkdir(parents=True)
        shutil.copy(self.authority.file, host / "ca.crt")
        if self.client_certificate:
            shutil.copy(self.client_certificate[0], host / "client.cert")
            shutil.copy(self.client_certificate[1], host / "client.key")
        return folder


@contextlib.contextmanager
def registry(
    *,
    tls: bool = False,
    client_certificates: bool = False,
    users: Mapping[str, str] | None = None,
    token: bool = False,
    anonymous_pull: bool = False,
    token_seconds: int = 300,
    storage: Path | None = None,
) -> Iterator[Registry]:
    """Run a registry for the `with` block.

    `users` asks for Basic authentication, with `token` for Bearer tokens of a TokenServer instead.
    `client_certificates` implies `tls`. `storage` keeps the content in a folder of the caller's.
    """
    folder = Path(tempfile.mkdtemp(prefix="orlop-registry-"))
    tokens: TokenServer | None = None
    try:
        authority = Authority(folder / "ca") if tls or client_certificates else None
        if token:
            tokens = TokenServer(folder, users or {}, anonymous_pull=anonymous_pull, expires_in=token_seconds)
        config = _config(folder, storage, authority, client_certificates, users or {}, tokens)
        child, port = _start(folder, config)
        try:
            yield Registry(
                address=f"127.0.0.1:{port}",
                scheme="https" if authority else "http",
                folder=folder,
                pid=child.pid,
                authority=authority,
                client_certificate=authority.issue("client", client=True)
                if authority and client_certificates
                else None,
                users=users or {},
                tokens=tokens,
            )
        finally:
            child.kill()
            child.wait()
    finally:
        if tokens:
            tokens.close()
        shutil.rmtree(folder, ignore_errors=True)


def _config(
    folder: Path,
    storage: Path | None,
    authority: Authority | None,
    client_certificates: bool,
    users: Mapping[str, str],
    tokens: TokenServer | None,
) -> dict[str, Any]:
    config: dict[str, Any] = {
        "version": 0.1,
        "log": {"level": "info", "accesslog": {"disabled": False}},
        "storage": {
            "filesystem": {"rootdirectory": str(storage or folder / "storage")},
            "delete": {"enabled": True},
        },
        "http": {"secret": secrets.token_hex(16)},
    }
    if authority:
        certificate, key = authority.issue("server")
        config["http"]["tls"] = {"certificate": str(certificate), "key": str(key)}
        if client_certificates:
            config["http"]["tls"]["clientcas"] = [str(authority.file)]
    if tokens:
        config["auth"] = {
            "token": {
                "realm": tokens.realm,
                "service": "orlop-registry",
                "issuer": "orlop-tests",
                "rootcertbundle": str(tokens.bundle),
            }
        }
    elif users:
        entries = folder / "htpasswd"
        entries.write_text("".join(f"{user}:{_bcrypt(password)}\n" for user, password in users.items()))
        config["auth"] = {"htpasswd": {"realm": "orlop-tests", "path": str(entries)}}
    return config


def _start(folder: Path, config: dict[str, Any]) -> tuple[subprocess.Popen[bytes], int]:
    for _ in range(_STARTS):
        port = _free_port()
        config["http"]["addr"] = f"127.0.0.1:{port}"
        (folder / "config.yml").write_text(json.dumps(config))  # JSON is YAML
        with (folder / "log").open("wb") as log:
            child = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", PROGRAM, "serve", str(folder / "config.yml")],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "OTEL_TRACES_EXPORTER": "none"},
            )
        if _answers(child, port):
            return child, port
        child.kill()
        child.wait()
    raise RuntimeError(f"docker-registry does not start: {(folder / 'log').read_text()[-2000:]}")


def _answers(child: subprocess.Popen[bytes], port: int) -> bool:
    deadline = time.monotonic() + _READY_SECONDS
    while time.monotonic() < deadline and child.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            # Another process may have taken the port between our look and the start: then ours has ended.
            time.sleep(0.02)
            return child.poll() is None
        time.sleep(0.01)
    return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _bcrypt(password: str) -> str:
    """By libcrypt itself: Python's own module for it is gone from 3.13 on."""
    library = ctypes.CDLL("libcrypt.so.1")
    library.crypt.restype = ctypes.c_char_p
    salt = hashlib.sha256(secrets.token_bytes(16)).hexdigest()[:22]
    hashed: bytes | None = library.crypt(password.encode(), f"$2y$05${salt}".encode())
    assert hashed and hashed.startswith(b"$2y$")
    return hashed.decode()
