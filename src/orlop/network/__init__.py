"""CNI 1.x: network configurations, plugin invocation, results, host ports.

Contract
--------
- Third parties' plugins are executed as the CNI specification says; a network configuration list that works
  with CRI-O or podman works here unchanged.
- What ADD did is written down before it is attempted, so that DEL always follows, also when the machine or
  the process died in between; DEL is repeated until it succeeds.
- Plain functions, thread-safe, many processes at once.
- Follows: CNI specification 1.1.0 (sections 1 to 5), cached results as libcni keeps them.
"""
