"""What comes behind the tar: sparse files' data, then the metadata. Written once the archive has ended.

    meta: the root's inode | the inodes of `ErofsWriter` | the folders' inodes | folders' entries, long links

The root is first because the superblock has 16 bits for its number.
"""

from __future__ import annotations

import errno
import os
import struct
from zlib import crc32 as _zlib_crc32

from orlop.kit import limits
from orlop.store.erofs import format as on_disk
from orlop.store.erofs import xattrs
from orlop.store.erofs.tar_within import TAR_OFFSET
from orlop.store.erofs.writer import ErofsWriter, Folder, Sparse

try:
    from isal.isal_zlib import crc32 as _crc32
except ImportError:
    _crc32 = _zlib_crc32

_SECOND = 1_000_000_000
_KIND_BITS = 3
_KIND = (1 << _KIND_BITS) - 1
_PIECE = 1 * limits.MIB


def write(file: int, writer: ErofsWriter, tar_size: int, uuid: bytes) -> None:
    """Complete the image in the open `file`, which holds the tar already. Nothing is synced.

    Raises OSError; EFBIG where it is beyond what EROFS can address (2 TiB).
    """
    behind = TAR_OFFSET + tar_size
    end = _aligned(behind, 4096)
    for sparse in writer.sparse:
        end = _expand(file, writer, sparse, end)
    data = _Metadata(writer, end >> on_disk.BLOCK_BITS)
    parts = data.parts()
    length = _aligned(end + sum(map(len, parts)), 4096)
    if length >> on_disk.BLOCK_BITS >= on_disk.BLOCKS_MAX:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
    os.ftruncate(file, length)
    at = end
    for part in parts:
        write_all(file, part, at)
        at += len(part)
    header = on_disk.Header(tar_size, end, length, checksum(file, behind, length))
    block = on_disk.first_block(
        header, root_nid=0, inodes=writer.inode_count, uuid=uuid, chunks=bool(writer.sparse)
    )
    write_all(file, block, 0)


def checksum(file: int, start: int, end: int) -> int:
    """CRC-32 of a part of the file. Raises ValueError where the file is shorter."""
    found = 0
    while start < end:
        piece = os.pread(file, min(_PIECE, end - start), start)
        if not piece:
            raise ValueError("it is too short")
        found = _crc32(piece, found)
        start += len(piece)
    return found


def write_all(file: int, data: bytes | bytearray | memoryview, at: int) -> None:
    """pwrite(2) until all is written."""
    view = memoryview(data)
    while view:
        count = os.pwrite(file, view, at)
        at += count
        view = view[count:]


def _expand(file: int, writer: ErofsWriter, sparse: Sparse, end: int) -> int:
    """Put a sparse file's chunks that hold data to `end`; returns where they end. Holes stay holes."""
    places: dict[int, int] = {}  # by chunk
    source = sparse.data
    for offset, length in sparse.pieces:
        while length:
            number, within = divmod(offset, sparse.chunk)
            place = places.get(number)
            if place is None:
                place = places[number] = end
                end += sparse.chunk
                if end >> on_disk.BLOCK_BITS >= on_disk.BLOCKS_MAX:
                    raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
                struct.pack_into(
                    "<I", writer.inodes, sparse.chunk_map + 4 * number, place >> on_disk.BLOCK_BITS
                )
            step = min(length, sparse.chunk - within, _PIECE)
            write_all(file, os.pread(file, step, source), place + within)
            source, offset, length = source + step, offset + step, length - step
    return end


class _Metadata:
    """`first_block` is the metadata's own place, in blocks."""

    def __init__(self, writer: ErofsWriter, first_block: int) -> None:
        self._writer = writer
        self._first = first_block
        self._folders: list[tuple[Folder, Folder]] = [(writer.top, writer.top)]  # with the one above
        self._nids: dict[int, int] = {}  # of folders, by id()

    def parts(self) -> list[bytes | bytearray]:
        writer = self._writer
        attributes = [xattrs.encoded(writer.top.xattrs)]
        root_size = _aligned(on_disk.INODE_SIZE + len(attributes[0]), on_disk.BLOCK)
        shift = root_size // on_disk.SLOT
        at = _aligned(root_size + len(writer.inodes), on_disk.BLOCK)
        inodes_padding = bytes(at - root_size - len(writer.inodes))
        folders_at = at
        self._nids[id(writer.top)] = 0
        for folder, _ in self._folders:  # grows meanwhile
            if folder is not writer.top:
                encoded = xattrs.encoded(folder.xattrs)
                attributes.append(encoded)
                self._nids[id(folder)] = at // on_disk.SLOT
                at += _aligned(on_disk.INODE_SIZE + len(encoded), on_disk.INODE_SIZE)
            self._folders += [
                (child, folder) for child in folder.children.values() if isinstance(child, Folder)
            ]
        at = _aligned(at, on_disk.BLOCK)
        folders_size = at - folders_at
        entries = bytearray()
        packed = bytearray()
        root = b""
        for (folder, above), encoded in zip(self._folders, attributes, strict=True):
            block = self._first + (at + len(entries)) // on_disk.BLOCK
            size = self._entries(folder, above, shift, entries)
            inode = _folder_inode(folder, encoded, size, block)
            if folder is writer.top:
                root = inode + bytes(root_size - len(inode))
            else:
                packed += inode
                packed += bytes(-len(packed) % on_disk.INODE_SIZE)
        packed += bytes(folders_size - len(packed))
        for offset, target in writer.long_links:
            block = self._first + (at + len(entries)) // on_disk.BLOCK
            struct.pack_into("<I", writer.inodes, offset + on_disk.UNION_AT, block)
            entries += target + bytes(-len(target) % on_disk.BLOCK)
        return [root, writer.inodes, inodes_padding, packed, entries]

    def _entries(self, folder: Folder, above: Folder, shift: int, out: bytearray) -> int:
        """Append the folder's blocks to `out`; returns its size in bytes.

        A block is its entries, then their names; names are in order over all blocks.
        """
        nids = self._nids
        rows = [(b".", nids[id(folder)], on_disk.FOLDER), (b"..", nids[id(above)], on_disk.FOLDER)]
        for name, child in folder.children.items():
            if isinstance(child, int):
                rows.append((name, shift + (child >> _KIND_BITS) // on_disk.SLOT, child & _KIND))
            else:
                rows.append((name, nids[id(child)], on_disk.FOLDER))
        rows.sort()
        start = len(out)
        first = used = 0
        for place, row in enumerate(rows):
            need = 12 + len(row[0])
            if used + need > on_disk.BLOCK:
                _block(rows[first:place], out)
                out += bytes(-len(out) % on_disk.BLOCK)
                first, used = place, 0
            used += need
        _block(rows[first:], out)
        size = len(out) - start
        out += bytes(-len(out) % on_disk.BLOCK)
        return size


def _block(rows: list[tuple[bytes, int, int]], out: bytearray) -> None:
    pack = on_disk.DIRENT.pack
    at = len(rows) * 12
    for name, nid, kind in rows:
        out += pack(nid, at, kind, 0)
        at += len(name)
    out += b"".join([row[0] for row in rows])


def _folder_inode(folder: Folder, encoded: bytes, size: int, block: int) -> bytes:
    seconds, rest = divmod(folder.mtime, _SECOND)
    below = sum(1 for child in folder.children.values() if isinstance(child, Folder))
    return (
        on_disk.INODE.pack(
            on_disk.PLAIN, xattrs.count(encoded), folder.mode, 0, size, block, 0, folder.uid, folder.gid,
            seconds, rest, 2 + below,
        )
        + encoded
    )  # fmt: skip


def _aligned(number: int, to: int) -> int:
    return number + -number % to
