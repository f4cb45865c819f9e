"""Copying an image (or any artifact) from a Source to a Destination.

Contract
--------
- All is read and planned before a byte is written: what cannot be done as asked fails with nothing written.
- Bytes are verified on their way in; the destination's name leads to the image only when all of it is there.
- Nothing is converted that need not be: a manifest whose layers and format stay is carried byte for byte.
- Blobs go in parallel, through memory of a fixed size; a converted one goes through a temporary file only
  where the destination must know its digest before.

The public faces are `orlop.image.copy.by_name.copy_by_name`, below it `orlop.image.copy.engine.copy` (both
block), and `orlop.image.copy.options.CopyOptions`.
"""
