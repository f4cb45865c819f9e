"""Orlop: a container stack for OpenStack. The packages, lowest first, are listed in ARCHITECTURE.md."""

__version__ = "0.1.0"
