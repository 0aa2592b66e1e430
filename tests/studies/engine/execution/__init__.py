"""Tests of studies.engine.execution."""
