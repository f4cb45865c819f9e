"""Tests of orlop.kit."""
