"""`orlop NOUN VERB`: thin. Parses, calls one function of a lower layer, prints. One verb, one file.

Contract
--------
- Only this package prints and exits. Standard output is the answer, standard error is everything else.
- A command imports what it needs when it runs; `orlop run` imports neither asyncio nor anything of `system`.
- Errors are `error: SUBJECT: CAUSE` and `hint: HINT`; exit codes are those of kit.errors (and, for `run` and
  `exec`, the container's own, with 125 to 127 as podman and docker have them).
"""
