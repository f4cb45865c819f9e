"""Pulls from Debian's own docker-registry: plain, TLS, client certificates, passwords, tokens."""

from __future__ import annotations

import asyncio
import base64
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from orlop.image.auth import Credentials
from orlop.image.fake_sink import FakeSink
from orlop.image.pull import Pulled, pull
from orlop.image.registries.load import parse
from orlop.image.registries.model import RegistriesConf
from orlop.image.settings import ImageSettings
from orlop.kit.errors import Denied, OrlopError, Unavailable
from tests.support.images import Image, Index, Layer, busybox, busybox_image, busybox_layer, push, tar
from tests.support.registry import Registry, registry

pytestmark = [
    pytest.mark.host,
    pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning"),
]
FAST = ImageSettings(attempts=3, backoff=0.01, backoff_max=0.05)
USERS = {"ship": "cargo:with:colons"}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of the test's own, in which certificates and credentials are looked for."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("REGISTRY_AUTH_FILE", "XDG_RUNTIME_DIR", "DOCKER_CONFIG", "CONTAINERS_REGISTRIES_CONF"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def run(name: str, sink: FakeSink | None = None, **options: Any) -> Pulled:
    options.setdefault("settings", FAST)
    return asyncio.run(pull(name, sink or FakeSink(), **options))


def insecure(running: Registry) -> RegistriesConf:
    return parse(f'[[registry]]\nlocation = "{running.address}"\ninsecure = true')


def trust(running: Registry, home: Path) -> None:
    running.certs_d(home / ".config/containers/certs.d")


def layers_of(*compressions: str) -> tuple[Layer, ...]:
    return tuple(Layer(tar({f"file{i}": b"data" * 5000}), kind) for i, kind in enumerate(compressions))


@pytest.mark.parametrize("schema", ["oci", "docker"])
def test_every_kind_of_image_arrives_whole(schema: str) -> None:
    image = Image(layers_of("gzip", "zstd", "", "gzip"), {"Cmd": ["sh"]}, schema=schema)
    index = Index((Image((), architecture="arm64", schema=schema), image), schema=schema)
    sink = FakeSink()
    with registry() as running:
        reference = push(running, "ship/cargo:1", index)
        done = run(reference, sink, registries=insecure(running), platform="linux/amd64")
        pinned = run(f"{running.address}/ship/cargo@{image.digest}", sink, registries=insecure(running))
    assert (done.id, done.digest, done.fetched_layers) == (image.id, image.digest, 4)
    assert (pinned.id, pinned.fetched_layers) == (image.id, 0)
    record = sink.images[done.id]
    assert [sink.layers[chain] for chain in record.layers] == [layer.tar for layer in image.layers]
    assert record.config == image.config_bytes
    assert sink.names[f"{running.address}/ship/cargo:1"] == image.id


def test_plain_http_is_spoken_only_where_it_is_allowed() -> None:
    with registry() as running:
        reference = busybox(running)
        with pytest.raises(Unavailable, match="plain http") as caught:
            run(reference, registries=RegistriesConf())
        assert "insecure = true" in caught.value.hint
        with pytest.raises(Unavailable):
            run(reference, registries=insecure(running), tls_verify=True)
        assert run(reference, registries=insecure(running)).fetched_layers == 1
        assert run(reference, registries=RegistriesConf(), tls_verify=False).fetched_layers == 1


def test_a_registry_with_its_own_authority_is_trusted_by_its_folder(home: Path) -> None:
    with registry(tls=True) as running:
        reference = busybox(running)
        with pytest.raises(Unavailable, match="TLS") as caught:
            run(reference, registries=RegistriesConf())
        assert "certs.d" in caught.value.hint
        assert run(reference, registries=insecure(running)).fetched_layers == 1
        trust(running, home)
        assert run(reference, registries=RegistriesConf()).fetched_layers == 1


def test_a_client_certificate_is_shown_to_the_host_it_is_for(home: Path) -> None:
    with registry(client_certificates=True) as running:
        reference = busybox(running)
        with pytest.raises(Unavailable):
            run(reference, registries=RegistriesConf(), tls_verify=False)
        trust(running, home)
        assert run(reference, registries=RegistriesConf()).fetched_layers == 1


def test_a_key_without_its_certificate_is_named(home: Path) -> None:
    with registry(client_certificates=True) as running:
        reference = busybox(running)
        trust(running, home)
        (home / ".config/containers/certs.d" / running.address / "client.cert").unlink()
        with pytest.raises(OrlopError, match=r"client\.key: has no certificate"):
            run(reference, registries=RegistriesConf())


@pytest.mark.parametrize("token", [False, True])
def test_passwords_open_a_registry(token: bool, home: Path) -> None:
    with registry(users=USERS, token=token, tls=True) as running:
        trust(running, home)
        if running.tokens:  # its realm is http on loopback, which a TLS registry may not ask for
            with pytest.raises(Denied, match="plain http"):
                run(busybox(running), registries=RegistriesConf())
    with registry(users=USERS, token=token) as running:
        reference, conf = busybox(running), insecure(running)
        with pytest.raises(Denied, match="wants credentials"):
            run(reference, registries=conf)
        wrong = Credentials("ship", "wrong")
        with pytest.raises(Denied, match="credentials"):
            run(reference, registries=conf, credentials=wrong)
        right = Credentials(*next(iter(USERS.items())))
        assert run(reference, registries=conf, credentials=right).fetched_layers == 1
        running.auth_json(home / "auth.json")
        assert run(reference, registries=conf, auth_file=str(home / "auth.json")).fetched_layers == 1
        (home / ".docker").mkdir()
        running.auth_json(home / ".docker/config.json")
        assert run(reference, registries=conf).fetched_layers == 1


def test_a_token_is_fetched_once_for_a_pull_and_anew_when_it_expires() -> None:
    image = Image(layers_of(*["gzip"] * 6))
    with registry(users=USERS, token=True, anonymous_pull=True) as running:
        assert running.tokens
        reference = push(running, "ship/cargo:1", image)
        assert run(reference, registries=insecure(running)).fetched_layers == 6
        assert len(running.tokens.requests) == 1
        assert "scope=repository%3Aship%2Fcargo%3Apull" in running.tokens.requests[0][1]
        assert running.tokens.requests[0][2] is None
        running.tokens.expires_in = 1
        assert run(reference, registries=insecure(running)).fetched_layers == 6
        assert len(running.tokens.requests) > 2


def test_an_identity_token_is_exchanged_by_oauth(home: Path) -> None:
    with registry(users=USERS, token=True) as running:
        assert running.tokens
        reference = busybox(running)
        running.tokens.refresh_tokens["refresh-me"] = "ship"
        auth = base64.b64encode(b"00000000-0000-0000-0000-000000000000:").decode()
        entry = {"auth": auth, "identitytoken": "refresh-me"}
        (home / "auth.json").write_text(json.dumps({"auths": {running.address: entry}}))
        options: dict[str, Any] = {"registries": insecure(running), "auth_file": str(home / "auth.json")}
        assert run(reference, **options).fetched_layers == 1
        method, body, authorization = running.tokens.requests[0]
        assert (method, authorization) == ("POST", None)
        assert "grant_type=refresh_token" in body


def test_a_token_that_the_caller_brings_is_sent_as_it_is() -> None:
    with registry(users=USERS, token=True) as running:
        assert running.tokens
        reference = busybox(running)
        repository = reference.partition("/")[2].partition(":")[0]
        token = running.tokens.token("ship", "orlop-registry", [f"repository:{repository}:pull"])
        brought = Credentials("", "", registry_token=token)
        assert run(reference, registries=insecure(running), credentials=brought).fetched_layers == 1
        assert not running.tokens.requests
        wrong = Credentials("", "", registry_token=token[:-8] + "AAAAAAAA")
        with pytest.raises(Denied):
            run(reference, registries=insecure(running), credentials=wrong)
        assert token not in repr(brought)


def test_a_credential_helper_opens_a_registry(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    helper = home / "docker-credential-hold"
    helper.write_text("""#!/bin/sh\necho '{"Username": "ship", "Secret": "cargo:with:colons"}'\n""")
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{home}:/usr/bin:/bin")
    with registry(users=USERS) as running:
        (home / "auth.json").write_text(json.dumps({"credHelpers": {running.address: "hold"}}))
        options: dict[str, Any] = {"registries": insecure(running), "auth_file": str(home / "auth.json")}
        assert run(busybox(running), **options).fetched_layers == 1


def test_the_files_of_the_environment_decide(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with registry() as running, registry() as mirror:
        push(mirror, "cargo:1", busybox_image())
        conf = home / "registries.conf"
        conf.write_text(
            f"""
            [aliases]
            "hold" = "registry.invalid/ship/cargo"
            [[registry]]
            prefix = "registry.invalid/ship"
            location = "{running.address}"
            insecure = true
            [[registry.mirror]]
            location = "{mirror.address}"
            insecure = true
            """
        )
        monkeypatch.setenv("CONTAINERS_REGISTRIES_CONF", str(conf))
        sink = FakeSink()
        assert run("hold:1", sink).name == "registry.invalid/ship/cargo:1"
        assert running.requests("GET /v2/") == 0


def test_skopeo_and_we_agree_on_what_a_reference_leads_to(home: Path) -> None:
    with registry(tls=True, users=USERS) as running:
        trust(running, home)
        reference = push(running, "a/b:1", Index((busybox_image(), busybox_image(architecture="arm64"))))
        running.auth_json(home / "auth.json")
        theirs = subprocess.run(
            [
                *("skopeo", "--override-arch", "arm64", "inspect", "--authfile", str(home / "auth.json")),
                *("--cert-dir", str(home / ".config/containers/certs.d" / running.address)),
                *("--format", "{{.Architecture}} {{index .Layers 0}}", f"docker://{reference}"),
            ],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split()
        sink = FakeSink()
        done = run(
            reference,
            sink,
            registries=RegistriesConf(),
            platform="arm64",
            auth_file=str(home / "auth.json"),
        )
    assert theirs == ["arm64", busybox_layer().digest]
    assert json.loads(sink.images[done.id].config)["architecture"] == "arm64"


def test_the_parsers_on_the_start_up_path_import_nothing_heavy() -> None:
    heavy = ("asyncio", "urllib3", "ssl", "hashlib", "re", "logging", "tempfile", "pathlib")
    program = (
        "import sys; before = set(sys.modules)\n"
        "import orlop.image.reference, orlop.image.config, orlop.image.digest, orlop.image.sink\n"
        "print(*(set(sys.modules) - before))"
    )
    shown = subprocess.run(
        [sys.executable, "-S", "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": "src", "PATH": "/usr/bin:/bin"},
    ).stdout.split()
    unexpected = {name for name in heavy if name in shown}
    assert unexpected <= {"re"}  # json's decoder is made of it
