"""Asking a container how it is: by a command in it, HTTP, TCP or gRPC; and counting the answers.

Contract
--------
- Each kind is one coroutine that ends within its time limit and returns an `Outcome`: a container that
  answers wrongly, slowly or not at all is a result, never an exception.
- `tally` is pure: how many answers make a container started, ready or dead.
- Nothing here acts on the answer; `supervise` does.
- Follows the kubelet's probes (pkg/probe): success is 200 to 399, redirects stay on their host, HTTPS
  certificates are not verified; gRPC health checking protocol, grpc.health.v1.
"""
