"""critest against `orlop serve`, with images of our own on a loopback registry (docs/conformance.md)."""
