"""Orlop's tests: one folder a package, real parts, fakes only at ports."""
