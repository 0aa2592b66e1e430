"""Tests of studies.engine.recording."""
