"""From a Containerfile to an image in the store.

Contract
--------
- What is built is ordinary: a config, a manifest and layers in the store, which `image copy` pushes.
- The same instructions, files, arguments and base give the same cache keys; with SOURCE_DATE_EPOCH, the same
  digests.
- A secret is never in a layer, in the history, in a cache key, in a log, or on a disk that a reboot keeps.
- What a Containerfile names outside its context is refused, whatever links lead there.
- Interrupted at any point: nothing runs, nothing is mounted, the next build goes on from the cache.
- Follows: Containerfile(5), containerignore(5), Dockerfile frontend 1.x (heredocs, RUN --mount, COPY --link).

The public face is `orlop.build.build.build`.
"""
