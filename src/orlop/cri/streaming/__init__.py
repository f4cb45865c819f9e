"""The server of exec, attach and port-forward: what the URLs that the CRI hands out lead to.

Contract
--------
- `server.Streaming` is the public face; its URLs are made from any thread, all else happens on one loop.
- A URL is good once and for a minute; nothing is asked of whoever has it, so it stays on loopback or TLS.
- Both ways the client may speak, SPDY/3.1 and WebSocket, end in the same values (`client.Client`,
  `port_forward.Pair`); what is done with them (exec.py, attach.py, port_forward.py) knows no protocol.
- Nothing is kept for a client that has gone: no task, descriptor, thread or process. A client that is slow
  slows the other end down: every buffer has a bound in kit.limits.
- Follows: the SPDY/3.1 draft, RFC 6455, RFC 9112, Kubernetes' streaming subprotocols (v1 to v5 of
  channel.k8s.io, portforward.k8s.io) as its client libraries speak them.
"""
