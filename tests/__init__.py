"""Orlop's tests: one folder a package, real parts (registries, crun, conmon, CNI plugins), fakes only at ports."""
