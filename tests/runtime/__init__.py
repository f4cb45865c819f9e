"""Tests of orlop.runtime."""
