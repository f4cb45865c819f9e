"""One door each for what every layer needs: errors, limits, processes, files, locks, the kernel, time.

Contract
--------
- Knows nothing of containers. Imports nothing from the rest of Orlop.
- Every module may be imported by itself; none imports asyncio, except ``tasks``, because ``orlop run``
  pays for every import (ARCHITECTURE.md, "Two kinds of function").
- Functions here are synchronous and safe to call from any thread.
- Nothing prints and nothing exits.
"""
