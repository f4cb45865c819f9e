"""SPDY/3.1, as much of it as Kubernetes' clients need; no maintained library for Python has it.

frames.py is the format, both directions, without input or output; connection.py the streams.
"""
