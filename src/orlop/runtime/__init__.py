"""An OCI runtime spec and the running of it: crun, runc or youki under conmon; cgroups v1 and v2; stats.

Contract
--------
- conmon is a container's parent, never an Orlop process. Killing any Orlop process changes no container.
- The runtime is whatever the machine has; what it can do is read from its `features`, never assumed.
- Rights that this process lacks are clamped, said once in the log, and never fail a container.
- Plain functions, thread-safe; no database here: all state is the bundle folder, the runtime's own state
  and the exit file, so that it can be found again by ID alone.
- Follows: OCI runtime-spec 1.0 to 1.3, CRI logging format.
"""
