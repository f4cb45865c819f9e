"""Verbs on the registry of this node: `orlop registry ...`, one file each."""
