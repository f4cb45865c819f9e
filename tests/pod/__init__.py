"""Tests of orlop.pod."""
