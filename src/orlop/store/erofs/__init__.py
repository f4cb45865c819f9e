"""Layers as EROFS images, mounted as they are: a layer's tar with an index behind it. Nothing is unpacked.

layers/<n>/image: a block with the superblock (`format`), the tar as it came (its files' data, which tar
aligns to 512 bytes, is where the inodes say), then what sparse files come to and the metadata (`writer`,
`metadata`). `mounts` mounts such files when they are needed, and is all that `orlop run` imports; `support`
asks the kernel.
"""
