"""Keeps declared pods running with no orchestrator, because the orchestrator is one of them.

Contract
--------
- `kube/`: Kubernetes YAML to values and on to `pod`'s configurations. A field that is not honoured is named
  in an error or, if harmless, in a warning: never silently dropped.
- `play`: a declaration is compared with what is (`orlop.plan`), recorded, and applied.
- `supervise`: one process a node keeps what is declared: restarts with back-off, probes, hooks, log
  rotation. Killed at any moment, its successor adopts what runs, with the counts and times it had.
- The only thing in Orlop that keeps something running; it has no part in a one-off `orlop run`.
"""
