"""Verbs on pods: `orlop pod ...`, one file each."""
