"""Tests of studies.engine."""
