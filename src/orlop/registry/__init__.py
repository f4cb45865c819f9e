"""A registry on the node's store: what is pushed to it lies in the same blobs, collected by the same prune.

Contract
--------
- OCI distribution-spec 1.1 whole: pull, push, content discovery, content management, referrers.
- Nothing is acknowledged before it is durable; a blob is visible once its digest was verified.
- Bounded in what a client can make it hold: sizes, counts, times and connections stand in kit.limits.

The public face is `orlop.registry.serve.serve` (asyncio).
"""
