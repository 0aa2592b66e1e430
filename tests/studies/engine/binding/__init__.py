"""Tests of studies.engine.binding."""
