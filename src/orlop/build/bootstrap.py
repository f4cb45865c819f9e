"""A Debian root file system made from its packages by mmdebstrap, as an image.

The image depends on the archive's state and the arguments alone: times are bounded by SOURCE_DATE_EPOCH, by
default the date of the suite's Release file, and mmdebstrap leaves nothing of this machine in it.
"""

from __future__ import annotations

import email.utils
import hashlib
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from orlop.build.document import Document, manifest, moment
from orlop.build.model import OCI, LayerOf
from orlop.image.digest import Digest
from orlop.image.platform import Platform
from orlop.image.policy.errors import PolicyRefused
from orlop.image.reference import Reference
from orlop.image.sink import ImageRecord, LayerRequest, Reader
from orlop.kit import limits, process
from orlop.kit.errors import (
    Denied,
    InvalidInput,
    NotFound,
    OrlopError,
    ProcessFailed,
    Unavailable,
    Unsupported,
)
from orlop.kit.files import read_bounded
from orlop.kit.progress import QuietMeter
from orlop.store.store import Store
from orlop.store.workspace import work_folder

MIRROR = "http://deb.debian.org/debian"
VARIANTS = ("minbase", "apt", "essential", "required", "important", "standard", "buildd", "-")
_FORGET = 'rm -f "$1"/etc/hostname "$1"/etc/resolv.conf'  # mmdebstrap copies this machine's
_HELPER = "/usr/lib/apt/apt-helper"
_SUITES = {"11": "bullseye", "12": "bookworm", "13": "trixie", "latest": "stable"}
_SUITE = re.compile(r"[a-z][a-z0-9.-]{1,40}\Z")
_PACKAGE = re.compile(r"[a-z0-9][a-z0-9+.:~=/-]{0,100}\Z")
_ARCHITECTURES = {"arm": "armhf", "386": "i386", "ppc64le": "ppc64el"}
_PROXIES = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class Wanted:
    """What to make. `mirror`: an address, or a line of sources.list; "": Debian's own. `architecture` in
    Debian's words, "" is this machine's. `epoch`: None: the date of the suite's Release file."""

    suite: str
    variant: str = "minbase"
    include: tuple[str, ...] = ()
    mirror: str = ""
    architecture: str = ""
    epoch: int | None = None


def bootstrap(store: Store, wanted: Wanted, names: tuple[str, ...]) -> str:
    """Make the image and point `names` (canonical references) at it; its ID.

    Raises InvalidInput, NotFound (mmdebstrap is not installed), Unavailable (the mirror), ProcessFailed.
    """
    _check(wanted)
    with store.lease(), work_folder(store.layout.tmp) as folder:
        epoch = _date(wanted, folder) if wanted.epoch is None else wanted.epoch
        tar = f"{folder}/root.tar"
        argv = ["mmdebstrap", "--quiet", "--mode=root", "--format=tar", f"--variant={wanted.variant}"]
        argv += [f"--include={','.join(wanted.include)}"] if wanted.include else []
        argv += [f"--architectures={wanted.architecture}"] if wanted.architecture else []
        argv.append(f"--customize-hook={_FORGET}")
        argv += [wanted.suite, tar, *([wanted.mirror] if wanted.mirror else [])]
        environment = {
            **process.MINIMAL_ENV,
            **{name: os.environ[name] for name in _PROXIES if name in os.environ},
            "SOURCE_DATE_EPOCH": str(epoch),
            "TMPDIR": folder,
        }
        process.run(
            argv,
            env=environment,
            timeout=limits.BOOTSTRAP_TIMEOUT,
            hint="see that the mirror answers (--mirror) and has the suite",
        )
        diff_id, size = _digest(tar)
        request = LayerRequest(diff_id, None, diff_id, "", diff_id, size)
        store.ensure_layer(request, lambda: _opened(tar), meter=QuietMeter(), tick=lambda: None)
        return _recorded(store, wanted, argv, epoch, LayerOf(diff_id, diff_id, diff_id, size), names)


def _recorded(
    store: Store, wanted: Wanted, argv: list[str], epoch: int, layer: LayerOf, names: tuple[str, ...]
) -> str:
    platform = Platform.host()
    if wanted.architecture:
        words = {debian: ours for ours, debian in _ARCHITECTURES.items()}
        platform = Platform.parse(f"linux/{words.get(wanted.architecture, wanted.architecture)}")
    document = Document.empty(platform)
    document.run |= {"Env": [_PATH], "Cmd": ["bash"]}
    document.diff_ids.append(layer.diff_id)
    said = " ".join(word for word in argv if not word.endswith("/root.tar") and "-hook=" not in word)
    document.add_history(moment(epoch), said, empty=False)
    config = document.config(moment(epoch))
    raw = manifest(config, [layer], OCI)
    record = ImageRecord(Digest.of(config), Digest.of(raw), raw, config, (Digest(layer.chain_id),), names)
    store.put_image(record)
    return record.id


def or_bootstrapped(
    store: Store, name: str, platform: str, fetch: Callable[[], str], note: Callable[[str], None]
) -> str:
    """The ID of the image that `fetch` brings; where no registry has it, and it is called as Debian's own
    image is, and this machine has mmdebstrap, one that is made now. Raises what `fetch` raised.
    """
    try:
        return fetch()
    except (NotFound, Unavailable, Denied) as error:
        suite = suite_of(name)
        if suite is None or platform or not _installed() or isinstance(error, PolicyRefused):
            raise
        note(f"{error}: making {name} from Debian's packages (orlop image bootstrap debian {suite})")
        names = (Reference.parse(name).canonical,)
        return bootstrap(store, Wanted(suite), names)


def suite_of(name: str) -> str | None:
    """The suite that an image of Debian's own repository is of: `debian:bookworm-slim` is "bookworm"."""
    try:
        reference = Reference.parse(name)
    except OrlopError:
        return None
    if reference.digest or reference.name not in ("docker.io/library/debian", "debian"):
        return None
    tag = (reference.tag or "latest").removesuffix("-slim").partition(".")[0]
    suite = _SUITES.get(tag, tag)
    return suite if _SUITE.match(suite) else None


def architecture_of(platform: str) -> str:
    """Debian's word for a platform's architecture. Raises InvalidInput."""
    asked = Platform.parse(platform)
    if (asked.architecture, asked.variant) == ("arm", "v5"):
        return "armel"
    return _ARCHITECTURES.get(asked.architecture, asked.architecture)


def _installed() -> bool:
    return any(
        os.access(f"{folder}/mmdebstrap", os.X_OK) for folder in process.MINIMAL_ENV["PATH"].split(":")
    )


def _check(wanted: Wanted) -> None:
    if not _SUITE.match(wanted.suite):
        raise InvalidInput(f"suite {wanted.suite[:60]!r}", "is no name of a suite", hint="such as bookworm")
    if wanted.variant not in VARIANTS:
        raise InvalidInput(f"variant {wanted.variant!r}", "is unknown", hint=f"one of {', '.join(VARIANTS)}")
    for package in wanted.include:
        if not _PACKAGE.match(package):
            raise InvalidInput(f"package {package[:60]!r}", "is no name of a package", hint="correct it")
    if wanted.mirror.startswith("-") or not wanted.mirror.isprintable():
        raise InvalidInput(f"mirror {wanted.mirror[:60]!r}", "is no address", hint=f"such as {MIRROR}")
    if not _installed():
        raise NotFound("mmdebstrap", "is not installed", hint="apt-get install mmdebstrap")


def _date(wanted: Wanted, folder: str) -> int:
    """When the suite was last released, from its Release file as apt gets it."""
    base = next((word for word in (wanted.mirror or MIRROR).split() if "://" in word), "")
    if not base:
        raise Unsupported(
            f"mirror {wanted.mirror}", "tells no date by itself", hint="set SOURCE_DATE_EPOCH, or --timestamp"
        )
    path = f"{folder}/InRelease"
    address = f"{base.rstrip('/')}/dists/{wanted.suite}/InRelease"
    environment = {
        **process.MINIMAL_ENV,
        **{name: os.environ[name] for name in _PROXIES if name in os.environ},
    }
    hint = "see that the mirror answers (--mirror) and has the suite"
    try:
        process.run([_HELPER, "download-file", address, path], env=environment, hint=hint)
    except ProcessFailed as error:
        lines = [line for line in error.stderr.splitlines() if line.startswith("E: Failed")]
        cause = lines[-1].removeprefix("E: ") if lines else error.cause
        raise Unavailable(f"Debian's suite {wanted.suite}", cause, hint=hint) from error
    text = read_bounded(path, limits.CONFIG_FILE_SIZE).decode(errors="replace")
    found = re.search(r"^Date: (.+)$", text, re.MULTILINE)
    try:
        when = found[1].replace("UTC", "+0000") if found else ""
        return int(email.utils.parsedate_to_datetime(when).timestamp())
    except (ValueError, TypeError):
        return 0


def _digest(path: str) -> tuple[Digest, int]:
    with open(path, "rb") as stream:
        digest = hashlib.file_digest(stream, "sha256")
        return Digest(f"sha256:{digest.hexdigest()}"), os.fstat(stream.fileno()).st_size


@contextmanager
def _opened(path: str) -> Iterator[Reader]:
    with open(path, "rb", buffering=0) as stream:
        yield stream
