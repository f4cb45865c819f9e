"""Verbs on containers: `orlop run`, `ps`, `exec`, ... one file each."""
