"""The CNI types bridge, host-local, loopback and portmap in process: no program is executed for them.

Contract
--------
- What comes out is what the plugins of containernetworking make: results, links, addresses, routes, sysctls,
  iptables' chains with their names and comments, host-local's files to the byte, its lock. Either can
  remove what the other made: `tests/network/test_conformance.py` runs each case on both.
- A configuration with an option that is not implemented here is not served (`serves`): its program is run.
- DEL is harmless when asked twice, for a namespace that is gone, and after an ADD that was cut off anywhere.
- Plain functions, thread-safe, many processes at once.
- Follows: the documentation of bridge, host-local, loopback and portmap 1.9, and CNI 1.1.0.
"""
