"""Tests of orlop.network."""
