"""Volumes of played pods: folders, tmpfs, files from ConfigMaps and Secrets, local claims.

Layout
------
    <root>/pod-volumes/<pod uid>/<volume>           emptyDir
    <root>/volumes/<namespace>/<claim>/data         persistentVolumeClaim: kept until it is removed by name
    <state>/pod-volumes/<pod uid>/<volume>          a tmpfs: emptyDir in memory, configMap, secret, ...
    <root>/pod-volumes/<pod uid>/.termination/      one file a container: its termination message

Contract
--------
- `prepare` may be called at any time, again and again: after a crash, after a reboot (every tmpfs is gone
  and made anew), after a ConfigMap changed (its files are exchanged atomically, in place).
- `cleanup` takes away what `prepare` made, however far it came. Claims stay.
- Nothing that a container put into a volume can lead these functions out of it.
- Plain functions, thread-safe.
"""

from __future__ import annotations

from orlop.system.volumes.claims import LocalVolume, claims, remove_claim
from orlop.system.volumes.cleanup import cleanup, leftovers
from orlop.system.volumes.prepare import prepare
from orlop.system.volumes.termination import read_termination, termination_log

__all__ = [
    "LocalVolume",
    "claims",
    "cleanup",
    "leftovers",
    "prepare",
    "read_termination",
    "remove_claim",
    "termination_log",
]
