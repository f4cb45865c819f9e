"""From a folder to a layer's archive: what `unpack` does, the other way.

`folder.pack` is the face: the upper folder of an overlay, or a plain one, becomes a tar (PAX) whose bytes
depend only on names, contents, owners, modes, attributes and (clamped) times: the same tree gives the same
digest on every machine.
"""
