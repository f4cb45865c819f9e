"""EROFS on disk, as much of it as a layer needs: Linux, fs/erofs/erofs_fs.h; little-endian throughout.

Blocks have 512 bytes, as tar has them, so that a file's data is in place where the archive has it. Inodes are
all of the extended kind (64 bytes), at multiples of 64, so that none crosses a block. An inode's number (nid)
is its offset from the metadata's beginning, divided by 32.

The first kilobyte of the file is free for its owner: our own header stands there.
"""

from __future__ import annotations

import struct
from zlib import crc32

from orlop.kit.value import dataclass

BLOCK_BITS = 9
BLOCK = 1 << BLOCK_BITS
SLOT = 32  # bytes that a nid counts
INODE_SIZE = 64
NO_BLOCK = 0xFFFFFFFF
BLOCKS_MAX = 0xFFFFFFFF  # an address has 32 bits

#: i_format: extended inodes (bit 0) and how their data is laid out (bits 1 to 3).
PLAIN, INLINE, CHUNKS = 1, 1 | 2 << 1, 1 | 4 << 1

#: File types in a directory's entries.
REGULAR, FOLDER, CHAR, BLOCK_DEVICE, FIFO, SYMLINK = 1, 2, 3, 4, 5, 7

#: i_format, xattr count, mode, reserved, size, block or device or chunk format, ino, uid, gid, mtime, its
#: nanoseconds, nlink.
INODE = struct.Struct("<HHHHQIIIIqII16x")
NLINK_AT = 44  # its offset in an inode
UNION_AT = 16
DIRENT = struct.Struct("<QHBB")  # nid, offset of the name, file type

_SUPER_AT = 1024
_MAGIC = 0xE0F5E1E2
_SUPER = struct.Struct("<IIIBBHQQIIII16s16sIHHHBBIQB3xIQQ")
_CHECKSUM, _MTIME = 1, 2  # compatible features
_CHUNKED_FILE = 4  # incompatible
_CHECKSUM_SEED = 0x5045B54A  # the CRC-32C of the magic and a zero checksum

#: Magic, version, bytes of the tar, offset of the metadata, the file's length, CRC-32 of all behind the tar.
_HEADER = struct.Struct("<16sIQQQI")
_OUR_MAGIC = b"orlop tar+erofs\0"
_VERSION = 1


@dataclass(frozen=True)
class Header:
    """Ours. Offsets and sizes in bytes; `checksum` is the CRC-32 of everything behind the tar."""

    tar_size: int
    metadata: int
    length: int
    checksum: int

    def packed(self) -> bytes:
        fields = (_OUR_MAGIC, _VERSION, self.tar_size, self.metadata, self.length, self.checksum)
        data = _HEADER.pack(*fields)
        return data + struct.pack("<I", crc32(data))

    @classmethod
    def read(cls, block: bytes) -> Header:
        """Raises ValueError where the file's first bytes are no such header."""
        data = block[: _HEADER.size]
        if len(block) < _HEADER.size + 4:
            raise ValueError("it is too short")
        magic, version, tar_size, metadata, length, checksum = _HEADER.unpack(data)
        if magic != _OUR_MAGIC or version != _VERSION:
            raise ValueError("it is no image of a layer")
        if struct.unpack("<I", block[_HEADER.size : _HEADER.size + 4])[0] != crc32(data):
            raise ValueError("its header is damaged")
        return cls(tar_size, metadata, length, checksum)


def first_block(header: Header, *, root_nid: int, inodes: int, uuid: bytes, chunks: bool) -> bytes:
    """The 4096 bytes before the tar: our header, and EROFS's superblock with its checksum."""
    fields = (
        _MAGIC, 0, _CHECKSUM | _MTIME, BLOCK_BITS, 0, root_nid, inodes, 0, 0,
        header.length >> BLOCK_BITS, header.metadata >> BLOCK_BITS, 0, uuid, bytes(16),
        _CHUNKED_FILE if chunks else 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    )  # fmt: skip
    block = bytearray(4096)
    block[: _HEADER.size + 4] = header.packed()
    block[_SUPER_AT : _SUPER_AT + _SUPER.size] = _SUPER.pack(*fields)
    # Over the rest of the superblock's own block, from behind the checksum's field on.
    checksum = crc32c(bytes(block[_SUPER_AT + 8 : _SUPER_AT + BLOCK]), _CHECKSUM_SEED)
    struct.pack_into("<I", block, _SUPER_AT + 4, checksum)
    return bytes(block)


def is_superblock_whole(block: bytes) -> bool:
    """Whether the superblock's checksum is right, in the file's first 4096 bytes."""
    recorded = int.from_bytes(block[_SUPER_AT + 4 : _SUPER_AT + 8], "little")
    return crc32c(block[_SUPER_AT + 8 : _SUPER_AT + BLOCK], _CHECKSUM_SEED) == recorded


def crc32c(data: bytes, state: int) -> int:
    """CRC-32C (Castagnoli) as the kernel counts it: no inversion before or after. For short data."""
    for byte in data:
        state ^= byte
        for _ in range(8):
            state = state >> 1 ^ (0x82F63B78 if state & 1 else 0)
    return state


def device_number(major: int, minor: int) -> int:
    """As new_encode_dev() of the kernel."""
    return minor & 0xFF | major << 8 | (minor & ~0xFF) << 12
