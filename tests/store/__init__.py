"""Tests of orlop.store."""
