"""Headers of a tar archive: POSIX ustar, with PAX records (POSIX.1-2001) for what it cannot say.

Times are whole seconds and names of users and groups are empty, so that two machines write the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from orlop.store.unpack import tar

BLOCK = tar.BLOCK
_NAME = 100  # bytes
_OCTAL_7 = 0o7777777
_OCTAL_11 = 0o77777777777
_XATTR = b"SCHILY.xattr."


def header(
    name: bytes,
    kind: bytes,
    *,
    mode: int = 0,
    uid: int = 0,
    gid: int = 0,
    size: int = 0,
    mtime: int = 0,
    link: bytes = b"",
    device: tuple[int, int] = (0, 0),
    xattrs: Mapping[str, bytes] | None = None,
    more: Iterable[tuple[bytes, bytes]] = (),
) -> bytes:
    """The blocks before an entry's content; `mtime` in seconds since the epoch.

    `more` are PAX records of the caller's own, in the order in which they shall stand.
    """
    records = [_record(key, value) for key, value in more]
    if len(name) > _NAME:
        records.append(_record(b"path", name))
    if len(link) > _NAME:
        records.append(_record(b"linkpath", link))
    for key, value, most in (
        (b"uid", uid, _OCTAL_7),
        (b"gid", gid, _OCTAL_7),
        (b"size", size, _OCTAL_11),
        (b"mtime", mtime, _OCTAL_11),
    ):
        if not 0 <= value <= most:
            records.append(_record(key, str(value).encode()))
    for attribute in sorted(xattrs or ()):
        assert xattrs is not None
        records.append(_record(_XATTR + attribute.encode(errors="surrogateescape"), xattrs[attribute]))
    block = _block(name, kind, mode, uid, gid, size, mtime, link, device)
    if not records:
        return block
    body = b"".join(records)
    before = _block(b"PaxHeaders/" + name[-80:].lstrip(b"/"), b"x", 0o644, 0, 0, len(body), 0, b"", (0, 0))
    return before + body + padding(len(body)) + block


def padding(size: int) -> bytes:
    """The zeros behind `size` bytes of content."""
    return b"\0" * (-size % BLOCK)


END = b"\0" * (2 * BLOCK)


def _record(key: bytes, value: bytes) -> bytes:
    """`LENGTH KEY=VALUE\\n`, where the length counts its own digits."""
    rest = len(key) + len(value) + 3
    length = rest + len(str(rest))
    if len(str(length)) > len(str(rest)):
        length += 1
    return b"%d %s=%s\n" % (length, key, value)


def _block(
    name: bytes,
    kind: bytes,
    mode: int,
    uid: int,
    gid: int,
    size: int,
    mtime: int,
    link: bytes,
    device: tuple[int, int],
) -> bytes:
    fields = b"%b%07o\0%07o\0%07o\0%011o\0%011o\0        %b%bustar\00000%b%07o\0%07o\0" % (
        name[:_NAME].ljust(_NAME, b"\0"),
        mode & 0o7777,
        uid if uid <= _OCTAL_7 else 0,
        gid if gid <= _OCTAL_7 else 0,
        size if size <= _OCTAL_11 else 0,
        mtime if 0 <= mtime <= _OCTAL_11 else 0,
        kind,
        link[:_NAME].ljust(_NAME, b"\0"),
        b"\0" * 64,
        device[0],
        device[1],
    )
    return fields[:148] + b"%06o\0 " % sum(fields) + fields[156:].ljust(BLOCK - 156, b"\0")
