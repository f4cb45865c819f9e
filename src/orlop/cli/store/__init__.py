"""Verbs on the store: `orlop store ...`, one file each."""
