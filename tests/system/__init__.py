"""Tests of orlop.system."""
