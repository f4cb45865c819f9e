"""COPY and ADD onto a root file system.

Every path of the image is resolved inside its root (openat2 RESOLVE_IN_ROOT), so that no link in it leads to
the machine: CVE-2018-15664, CVE-2024-1753 and CVE-2024-9407 are of this class. Archives go through the
store's own extractor.
"""
