"""--chown: whose the files become. Names are looked up in the image (hostile input: runtime.users)."""

from __future__ import annotations

from orlop.kit.errors import InvalidInput
from orlop.runtime import users

Owner = tuple[int, int]


def owner_of(chown: str, root: str) -> Owner | None:
    """(uid, gid) of "user", "user:group", "uid", "uid:gid", ":group"; None for "".

    A name alone brings its own group, a number alone is also the group's (Dockerfile reference, COPY
    --chown). Raises InvalidInput (unknown, out of range, an image without /etc/passwd).
    """
    if not chown:
        return None
    who, _, group = chown.partition(":")
    if "\n" in chown or ":" in group:
        raise InvalidInput(f"--chown={chown!r}", "is no owner", hint="write USER, USER:GROUP or numbers")
    found = users.resolve(root, f"{who}:{group}" if group else who, groups_policy="strict")
    if not group and who.isascii() and who.isdigit():
        return found.uid, found.uid
    return found.uid, found.gid
