"""Control groups, v1 and v2 behind one port (port.py); `Cgroups.for_machine` picks the machine's kind."""
