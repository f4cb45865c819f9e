"""The images that critest asks for, by their names there, made here: nothing is fetched.

What is in them: busybox with a hard link for each of its programs, Debian's dash as the shell (busybox' own
runs its programs inside itself, so that they are not to be seen as processes), the users that the tests name,
`pgrep` and `ipcs` as scripts, and one Go program (program/) that is the web servers, `nnp` and `pause`.

One image cannot be made: the one that is named by the digest of its manifest.
"""

from __future__ import annotations

import functools
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from tests.support.images import (
    BUSYBOX,
    Entry,
    Image,
    Layer,
    Pusher,
    folder,
    hard_link,
    symlink,
    tar,
)
from tests.support.registry import Registry
from tools.builds import local

KUBERNETES = "registry.k8s.io"
OLD_KUBERNETES = "k8s.gcr.io"
CRI_TOOLS = "gcr.io/k8s-staging-cri-tools"
HOSTS = (KUBERNETES, OLD_KUBERNETES, CRI_TOOLS)
PINNED = (
    f"{CRI_TOOLS}/test-image-digest@sha256:9700f9a2f5bf2c45f2f605a0bd3bce7cf37420ec9d3ed50ac2758413308766bf"
)
BUSYBOX_NAME = f"{KUBERNETES}/e2e-test-images/busybox:1.29-2"

_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_PASSWD = """\
root:x:0:0:root:/root:/bin/sh
daemon:x:1:1:daemon:/usr/sbin:/bin/false
www-data:x:33:33:www-data:/var/www:/bin/false
nobody:x:65534:65534:nobody:/home:/bin/false
"""
_GROUP = "root:x:0:\ndaemon:x:1:\ntty:x:5:\nwww-data:x:33:\nnogroup:x:65534:\n"
_PGREP = """\
#!/bin/sh
# The processes of this name.
status=1
for folder in /proc/[0-9]*; do
    read -r name 2>/dev/null <"$folder/comm" || continue
    if [ "$name" = "$1" ]; then
        echo "${folder#/proc/}"
        status=0
    fi
done
exit $status
"""
_IPCS = "#!/bin/sh\n# The shared memory segments (ipcs -m).\nexec cat /proc/sysvipc/shm\n"


def images() -> dict[str, Image]:
    """Every image by its whole name."""
    tools = Image((_busybox(),), {"Cmd": ["sh"], "Env": [_PATH]})
    web = _with(tools, _program("usr/sbin/nginx"), {"Cmd": ["nginx", "-port", "80"]})
    found = {
        BUSYBOX_NAME: tools,
        f"{KUBERNETES}/e2e-test-images/nginx:1.14-2": web,
        f"{KUBERNETES}/e2e-test-images/httpd:2.4.39-4": _with(
            tools, _program("usr/local/bin/httpd"), {"Cmd": ["httpd"]}
        ),
        f"{KUBERNETES}/e2e-test-images/nonewprivs:1.3": _with(
            tools, _program("nnp", mode=0o4755), {"Entrypoint": ["/nnp"]}
        ),
        f"{CRI_TOOLS}/hostnet-nginx-amd64:latest": replace(
            web, config={**web.config, "Cmd": ["nginx", "-port", "12003"]}
        ),
        f"{CRI_TOOLS}/test-image-predefined-group:latest": _with_default_user(tools),
    }
    pause = Image((_program("pause"),), {"Entrypoint": ["/pause"], "User": "65535:65535"})
    found |= {f"{host}/pause:3.9": pause for host in (KUBERNETES, OLD_KUBERNETES)}
    users = {
        "uid": "1002",
        "username": "www-data",
        "uid-group": "1003:1004",
        "username-group": "www-data:1004",
    }
    for name, user in users.items():
        found[f"{CRI_TOOLS}/test-image-user-{name}:latest"] = replace(
            tools, config={**tools.config, "User": user}
        )
    for name in ("latest:latest", "tag:test", "tag:all", "1:latest", "2:latest", "3:latest"):
        found[f"{CRI_TOOLS}/test-image-{name}"] = _marked(tools, name)
    for tag in ("1", "2", "3"):
        found[f"{CRI_TOOLS}/test-image-tags:{tag}"] = _marked(tools, "tags")
    return found


def push_all(registry: Registry) -> None:
    """Push every image; the host becomes the first part of the repository, so that none hides another."""
    pusher = Pusher(registry)
    for name, image in images().items():
        pusher.push(name, image)


def registries_conf(address: str) -> str:
    """The registries.conf(5) that sends the hosts of the images to the registry at `address` (HOST:PORT)."""
    blocks = (
        f'[[registry]]\nprefix = "{host}"\nlocation = "{address}/{host}"\ninsecure = true\n' for host in HOSTS
    )
    return "\n".join(blocks)


# The layers


@functools.cache
def _busybox() -> Layer:
    listed = subprocess.run([BUSYBOX, "--list"], check=True, capture_output=True, text=True).stdout.split()
    names = sorted({*listed} - {"busybox", "sh", "ash", "pgrep", "ipcs"})
    folders = ("bin", "dev", "etc", "home", "lib", "lib64", "proc", "root", "run", "sys", "usr", "usr/bin")
    entries = [
        folder(name) for name in (*folders, "usr/local", "usr/local/bin", "usr/sbin", "var", "var/www")
    ]
    entries += [folder("tmp", 0o1777), symlink("var/run", "/run")]
    entries.append(Entry("bin/busybox", Path(BUSYBOX).read_bytes(), mode=0o755))
    entries += [hard_link(f"bin/{name}", "bin/busybox") for name in names]
    entries += _dash()
    entries += [
        Entry("bin/pgrep", _PGREP.encode(), mode=0o755),
        Entry("bin/ipcs", _IPCS.encode(), mode=0o755),
    ]
    entries += [Entry("etc/passwd", _PASSWD.encode()), Entry("etc/group", _GROUP.encode())]
    return Layer(tar(entries))


def _dash() -> Iterator[Entry]:
    """Debian's shell and the libraries that it is linked with.

    One spec compares a whole message of the shell, in which dash has a line number and busybox' shell has
    not: the number is printed with no digits (both formats have eight letters).
    """
    program = Path("/bin/dash").read_bytes()
    assert b"%s: %d: " in program
    yield Entry("bin/sh", program.replace(b"%s: %d: ", b"%s: %.0s"), mode=0o755)
    linked = subprocess.run(["ldd", "/bin/dash"], check=True, capture_output=True, text=True).stdout
    paths = [Path(word) for word in linked.split() if word.startswith("/")]
    for parent in sorted(
        {parent for path in paths for parent in path.parents} - {Path("/"), Path("/lib"), Path("/lib64")}
    ):
        yield folder(str(parent).lstrip("/"))
    for path in paths:
        yield Entry(str(path).lstrip("/"), path.read_bytes(), mode=0o755)


def _program(path: str, *, mode: int = 0o755) -> Layer:
    """The Go program under this name."""
    built = local("conformance", Path(__file__).parent / "program")
    return Layer(tar([Entry(path, built.read_bytes(), mode=mode)]))


def _with(image: Image, layer: Layer, config: dict[str, object]) -> Image:
    return replace(image, layers=(*image.layers, layer), config={**image.config, **config})


def _with_default_user(image: Image) -> Image:
    passwd = _PASSWD + "default-user:x:1000:1000:default-user:/home:/bin/sh\n"
    group = _GROUP + "default-user:x:1000:\ngroup-defined-in-image:x:50000:default-user\n"
    layer = Layer(tar([Entry("etc/passwd", passwd.encode()), Entry("etc/group", group.encode())]))
    return _with(image, layer, {"User": "1000"})


def _marked(image: Image, mark: str) -> Image:
    """An image that differs from others by one file."""
    return _with(image, Layer(tar([Entry("TEST", mark.encode())])), {})
