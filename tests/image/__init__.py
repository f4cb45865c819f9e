"""Tests of orlop.image."""
