"""Blobs as registries have them: kept so that what was pulled can be pushed with the same digests.

A blob is a file below root/blobs, or the tar within a layer's own file (`blobs.layer`). It is in use where an
image's manifest or a repository names it; what nothing uses goes with `prune`. Files appear by a rename
inside a lease, before their row, and are removed after it (leases.py).
"""
