"""Tests of orlop.cli."""
