"""git repositories as a source: `ADD https://HOST/PATH.git#REF:FOLDER TARGET`, by git itself.

git is told to speak https, http, ssh and git only, to ask nobody for passwords, to read no configuration but
its own, and to run no hooks; submodules are not fetched.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from orlop.build.context import inside
from orlop.kit import files, limits, process
from orlop.kit.errors import Corrupt, InvalidInput, NotFound, ProcessFailed

_ADDRESS = re.compile(r"(git://|ssh://|git@[^/:]+:)|https?://[^#?]+\.git/?(#|\Z)")
_REF = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/+@-]*\Z")
_COMMIT = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?\Z")
_SHORT = re.compile(r"[0-9a-f]{7,64}\Z")
_PROTOCOLS = "https:http:ssh:git"


@dataclass(frozen=True)
class Address:
    remote: str
    ref: str = ""
    folder: str = ""


def is_git(source: str) -> bool:
    return bool(_ADDRESS.match(source))


def address(source: str) -> Address:
    """Raises InvalidInput for a ref that no repository has."""
    remote, _, fragment = source.partition("#")
    ref, _, folder = fragment.partition(":")
    if remote.startswith("-") or (ref and (not _REF.match(ref) or ".." in ref)):
        raise InvalidInput(source, f"has the ref {ref!r}", hint="write URL.git#BRANCH:FOLDER")
    return Address(remote, ref, folder)


def fetch(source: str, folder: str, *, checksum: str = "", keep: bool = False) -> tuple[str, str]:
    """The work tree of the source below the empty `folder`: its path, and the commit.

    `checksum`: the commit that it must be, or its beginning. Raises Unavailable, NotFound, Corrupt,
    InvalidInput, TimedOut.
    """
    where = address(source)
    _git(folder, "init", "--quiet", "--initial-branch=main")
    wanted = where.ref or "HEAD"
    try:
        try:
            _git(folder, "fetch", "--quiet", "--depth=1", "--no-tags", "--", where.remote, wanted)
        except ProcessFailed:  # a server of plain files, or one that gives no single commits
            _git(
                folder,
                "fetch",
                "--quiet",
                "--tags",
                "--",
                where.remote,
                "+refs/heads/*:refs/remotes/origin/*",
            )
            _git(folder, "update-ref", "FETCH_HEAD", _local(folder, where))
    except ProcessFailed as error:
        raise NotFound(
            source, f"cannot be fetched: {error.stderr[-300:]}", hint="check the address and the ref"
        ) from error
    commit = _git(folder, "rev-parse", "FETCH_HEAD^{commit}").text.strip()
    if checksum and not (_SHORT.match(checksum) and commit.startswith(checksum)):
        raise Corrupt(source, f"is the commit {commit}, not {checksum}", hint="see whether the ref has moved")
    _git(folder, "-c", "advice.detachedHead=false", "checkout", "--quiet", "--force", commit)
    if not keep:
        files.remove_tree(os.path.join(folder, ".git"))
    return _below(folder, where, source), commit


def _local(folder: str, where: Address) -> str:
    """The commit of the ref among what was fetched."""
    names = [f"refs/remotes/origin/{where.ref}", f"refs/tags/{where.ref}", where.ref] if where.ref else []
    for name in names or ["refs/remotes/origin/main", "refs/remotes/origin/master"]:
        done = _git(folder, "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}", check=False)
        if done.status == 0:
            return done.text.strip()
    raise NotFound(
        where.remote, f"has no {where.ref or 'main or master'}", hint="name a branch, tag or commit"
    )


def _below(folder: str, where: Address, source: str) -> str:
    if not where.folder:
        return folder
    root = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        real = inside.resolve(root, "/".join(inside.cleaned(where.folder)), source)
        os.close(inside.open_real(root, real))
    except (inside.Missing, OSError) as error:
        raise NotFound(source, f"has no folder {where.folder}", hint="check its name") from error
    finally:
        os.close(root)
    return os.path.join(folder, *real)


def _git(folder: str, *arguments: str, check: bool = True) -> process.Completed:
    env = {
        **process.MINIMAL_ENV,
        "HOME": folder,
        "GIT_ALLOW_PROTOCOL": _PROTOCOLS,
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_SSH_COMMAND": "ssh -oBatchMode=yes",
        "GIT_LFS_SKIP_SMUDGE": "1",
    }
    for name in ("https_proxy", "http_proxy", "no_proxy", "SSH_AUTH_SOCK"):
        if name in os.environ:
            env[name] = os.environ[name]
    argv = ["git", "-C", folder, "-c", "core.hooksPath=/dev/null", "-c", "safe.directory=*", *arguments]
    return process.run(argv, env=env, timeout=limits.ADD_TIMEOUT, check=check)
