"""Programs written in Go that tests and benchmarks need, built from the module proxy into a cache.

from tools.builds import program, local
critest = program("critest")                     # a path; built the first time
client = local("spdy", Path("tests/cri/streaming/goclient"))   # a module of our own
"""

from tools.builds.build import local, module, program

__all__ = ["local", "module", "program"]
