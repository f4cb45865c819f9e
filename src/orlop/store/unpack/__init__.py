"""From a blob's bytes to a folder: decompress, verify, extract, all at once, in threads, within bounds.

`layer.unpack` is the face. `decompress` and `channel` make the pipeline, `tar` reads archives, `tree` writes
below a folder's descriptor and nowhere else, `extract` says what an archive's entry means in a layer.
"""
