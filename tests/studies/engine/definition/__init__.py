"""Tests of studies.engine.definition."""
