"""One process a node that keeps declared pods as they were declared.

Contract
--------
- At most one supervisor a node, held by a file lock that the kernel releases.
- It holds nothing that is not on disk: every count, time and intention is recorded before it is acted on, or
  right after it was seen, so that a successor goes on where a killed one was, restarting nothing that runs.
- `decide` is pure: what was declared, what is seen, what is recorded and the time give the orders to carry
  out. `Keeper` carries them out, one task a pod; the failure of one pod never touches another.
- Pods are reached through a port (`port.Pods`), with a fake shipped (`fake_pods.FakePods`) that the same
  tests run against.
- Follows Kubernetes: pod phases, restart policies, CrashLoopBackOff, init and sidecar containers (KEP-753),
  probes, lifecycle hooks, termination.
"""
