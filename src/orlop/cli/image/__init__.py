"""Verbs on images: `orlop image ...`, one file each."""
