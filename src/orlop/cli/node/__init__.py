"""Verbs on this machine as a node: `orlop node ...`, one file each."""
