"""Lazy pulling: a prototype that measures what it could bring (docs/lazy-pulling.md); not in the program."""
