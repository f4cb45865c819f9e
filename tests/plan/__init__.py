"""Tests of orlop.plan."""
