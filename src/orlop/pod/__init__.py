"""The life of pods and containers, and their recovery; the domain itself, no gRPC and no YAML.

Contract
--------
- A pod is its pinned network, IPC and UTS namespaces; no pause process. Only a pod that shares its PID
  namespace gets an init (catatonit).
- Everything asked twice is harmless: run, create, start, stop, remove with the same request.
- Records are in SQLite below the root; what runs is found again from them and from the kernel. A record is
  written before the thing that it describes is made, so that a crash leaves nothing unknown.
- Each verb is one file (run_sandbox.py, create_container.py, ...) with one public function whose first
  argument is the `Pods` context (context.py). Plain functions, thread-safe, many processes at once.
- Nothing here restarts anything: `system` does.
"""
