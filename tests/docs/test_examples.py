"""Every example of every command (--help, man page, docs/cli.md) runs on a node that has what it names.

The stage: images busybox, nginx and debian:12; pods web (container nginx) and db; web.yaml and site/ here.
What goes on until it is interrupted (logs --follow, attach, supervise, serve) gets ^C after a moment.
"""

from __future__ import annotations

import contextlib
import os
import pty
import shlex
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from orlop.cli.commands import COMMANDS
from orlop.cli.tree import parsers
from orlop.kit.node import Node
from orlop.registry import passwords
from orlop.store.repositories import HeldManifest
from orlop.store.store import Store
from tests.docs.pages import ROOT
from tests.docs.signatures import prepare_signatures
from tests.support import images
from tests.support.cri import daemon
from tests.support.node import temporary_node
from tests.support.registry import Authority, Registry, registry

pytestmark = [pytest.mark.host, pytest.mark.timeout(300)]

_EXAMPLES = [(" ".join(parser.words), example) for parser in parsers() for example in parser.examples]
_ENDLESS = ("--follow", "orlop attach", "orlop stats web", "orlop stats")
_INTERRUPTED = {0, 130, -signal.SIGINT}
_SERVER = {"Cmd": ["sh", "-c", "trap 'exit 0' TERM; while :; do echo served; sleep 0.2; done"]}
_ALL_ZERO = "0" * 64
_ARCHIVES = {
    "image load": ("orlop image save busybox -o busybox.tar",),
    "image import": ("orlop image export busybox -o rootfs.tar", "gzip --keep rootfs.tar"),
    "image sync": ("orlop image sync docker://docker.io/library/busybox dir:mirror",),
    "image delete": (
        "orlop image copy docker://debian:12 docker://registry.example.org/team/app:1",
        "orlop image copy docker://debian:12 oci:images:busybox",
    ),
}


def _nginx() -> images.Image:
    """What the examples expect of an image called nginx."""
    files = {
        "etc/nginx/nginx.conf": b"events {}\n",
        "usr/share/nginx/html/index.html": b"<p>\n",
        "srv/x": b"",
    }
    base = images.busybox_image(_SERVER)
    layers = (*base.layers, images.Layer(images.tar({**files, "var/log/access.log": b"-\n"})))
    return images.Image(layers, base.config)


@pytest.fixture(scope="module")
def running() -> Iterator[Registry]:
    with registry() as server:
        for name in ("library/busybox:latest", "private/app:1"):
            images.busybox(server, name)
        images.push(server, "library/nginx:latest", _nginx())
        members = tuple(images.busybox_image(architecture=name) for name in ("amd64", "arm64"))
        images.push(server, "library/debian:12", images.Index(members))
        yield server


@pytest.fixture
def stage(running: Registry, tmp_path: Path) -> Iterator[tuple[Node, dict[str, str]]]:
    """A node with the named images and pods, and the environment of a user who stands in `tmp_path`."""
    stock = {"busybox": images.busybox_image(), "nginx": _nginx()}
    with temporary_node(images={f"docker.io/library/{name}:latest": i for name, i in stock.items()}) as node:
        conf = tmp_path / "registries.conf"
        conf.write_text(
            "".join(
                f'[[registry]]\nprefix = "{host}"\nlocation = "{running.address}"\ninsecure = true\n'
                for host in ("docker.io", "registry.example.org", running.address)
            )
        )
        (tmp_path / "images.yaml").write_text("docker.io: {images: {library/busybox: [latest]}}\n")
        (tmp_path / "site").mkdir()
        (tmp_path / "site" / "index.html").write_text("<p>site</p>\n")
        (tmp_path / "web.yaml").write_text(
            "apiVersion: v1\nkind: Pod\nmetadata: {name: played}\nspec:\n  terminationGracePeriodSeconds: 1\n"
            "  containers: [{name: web, image: nginx, imagePullPolicy: IfNotPresent}]\n"
        )
        environment = {
            **os.environ,
            "PATH": f"{ROOT}/.venv/bin:{os.environ['PATH']}",
            "ORLOP_ROOT": node.root,
            "ORLOP_STATE": node.state,
            "ORLOP_CONFIG": node.config,
            "CONTAINERS_REGISTRIES_CONF": str(conf),
            "REGISTRY_AUTH_FILE": str(tmp_path / "auth.json"),
            "TERM": "xterm",
        }
        try:
            yield node, environment
        finally:
            if "GNUPGHOME" in environment:
                _run("gpgconf --kill all", environment, tmp_path, check=False)
            _run("orlop node down --time 1", environment, tmp_path)


@pytest.mark.parametrize(("command", "example"), _EXAMPLES, ids=[example for _, example in _EXAMPLES])
def test_the_example_runs(
    command: str, example: str, stage: tuple[Node, dict[str, str]], running: Registry, tmp_path: Path
) -> None:
    node, environment = stage
    _prepare(command, example, environment, tmp_path)
    for made in _ARCHIVES.get(command, ()):
        _run(made, environment, tmp_path)
    with daemon(node) if command == "status" else contextlib.nullcontext():
        status, printed = _type(
            _real(example, node, running), environment, tmp_path, endless=_is_endless(example)
        )
    assert status in (_INTERRUPTED if _is_endless(example) else {0}), f"{example}: {status}\n{printed}"


def test_every_command_has_an_example() -> None:
    assert {command for command, _ in _EXAMPLES} == {" ".join(words) for words in COMMANDS}


def _prepare(command: str, example: str, environment: dict[str, str], folder: Path) -> None:
    """What the example takes for granted: `web` and `db` run, unless it is the one that makes them."""
    words = example.split()
    if command not in ("run", "play", "image copy", "image sync", "image logout") and {
        "web",
        "db",
        "web/nginx",
        "--all",
    } & {w.split(":")[0] for w in words}:
        for name in ("web", "db"):
            pod = (
                f"apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n"
                "  terminationGracePeriodSeconds: 1\n"
                "  containers: [{name: nginx, image: nginx, imagePullPolicy: IfNotPresent}]\n"
            )
            (folder / f"{name}.pod.yaml").write_text(pod)
            _run(f"orlop play {name}.pod.yaml --wait 60", environment, folder)
    if command.endswith("remove") and "--force" not in words:
        _run("orlop pod stop --time 1 web db", environment, folder, check=False)
    if command in ("image sign", "image verify", "image generate-key"):
        prepare_signatures(command, example, environment, folder, _run)
    if command.startswith("registry"):
        _prepare_registry(example, environment, folder)
    if command == "build":
        (folder / "deploy").mkdir()
        text = 'FROM busybox AS test\nARG VERSION\nRUN echo $VERSION\nFROM test\nCMD ["true"]\n'
        for name in ("Containerfile", "deploy/Containerfile", "token.txt"):
            (folder / name).write_text(text)
    if command == "image logout":
        (folder / "auth.json").write_text('{"auths": {"registry.example.org": {"auth": "eDp5"}}}')
    if example == "orlop image unmount busybox":
        _run("orlop image mount busybox", environment, folder)


def _prepare_registry(example: str, environment: dict[str, str], folder: Path) -> None:
    """A repository, a user, and a certificate."""
    held = HeldManifest("sha256:" + _ALL_ZERO, "application/json", "", "", 2, b"{}")
    store = Store(Node(environment["ORLOP_ROOT"], environment["ORLOP_STATE"], environment["ORLOP_CONFIG"]))
    store.repositories.put_manifest("library/busybox", held, ("latest",))
    store.close()
    if "users" in example:
        passwords.write(str(folder / "users"), "ada", "secret")
    if "--tls-cert" in example:
        for made, name in zip(
            Authority(folder / "ca").issue("server"), ("site.crt", "site.key"), strict=True
        ):
            made.rename(folder / name)


def _real(example: str, node: Node, running: Registry) -> str:
    """The example with what no two machines share: an image's ID, a digest, a place for man pages."""
    if " login " in example:  # which asks the very host that it is told
        example = example.replace("registry.example.org", running.address)
    identifier = Store(node).image("busybox").id.partition(":")[2][:12]
    digest = images.busybox_image().digest.partition(":")[2]
    real = example.replace("3f57d9401f8d", identifier).replace(_ALL_ZERO, digest)
    real = real.replace("/run/orlop/", f"{node.state}/").replace("/etc/systemd/system", ".")
    return real.replace("/usr/local/share/man/man1", "man1")


def _is_endless(example: str) -> bool:
    return (
        example in ("orlop supervise", "orlop serve")
        or example.startswith(("orlop serve --listen", "orlop registry serve"))
        or example in _ENDLESS
        or any(word in example for word in ("--follow", "orlop attach"))
    )


def _type(example: str, environment: dict[str, str], folder: Path, *, endless: bool) -> tuple[int, str]:
    """Run the example on a terminal if it asks for one; its status and what it printed."""
    terminal = " -it " in f" {example} "
    ours, theirs = pty.openpty()
    with open(folder / "printed", "w+", encoding="utf-8", errors="replace") as printed:
        child = subprocess.Popen(
            shlex.split(example),
            cwd=folder,
            env=environment,
            stdin=theirs if terminal else _input(example, folder),
            stdout=theirs if terminal else printed,
            stderr=theirs if terminal else printed,
            start_new_session=True,
        )
        os.close(theirs)
        try:
            if terminal:
                os.write(ours, b"exit\n")
            if endless:
                time.sleep(1.5)
                child.send_signal(signal.SIGINT)
            status = child.wait(120)
        finally:
            child.kill()
            os.close(ours)
        printed.seek(0)
        return status, printed.read()


def _input(example: str, folder: Path) -> int:
    """Standard input: the YAML where the example reads `-`, a password where one is wanted, else nothing."""
    if example.startswith("orlop registry passwd") or "--password-stdin" in example:
        (folder / "password").write_text("secret\n")
        return os.open(folder / "password", os.O_RDONLY)
    if example.split()[1] == "play" and example.endswith(" -"):
        return os.open(folder / "web.yaml", os.O_RDONLY)
    return os.open(os.devnull, os.O_RDONLY)


def _run(command: str, environment: dict[str, str], folder: Path, *, check: bool = True) -> None:
    done = subprocess.run(
        shlex.split(command),
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert not check or done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
