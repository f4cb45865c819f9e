"""What a build may read: its context, other named contexts, and the roots of other stages and images.

All of them are `tree.Tree`: a folder whose paths are resolved inside it (openat2 RESOLVE_IN_ROOT), with or
without an ignore file. A context that comes as an archive is unpacked first, with the store's rules.
"""
