"""Tests of studies.engine.execution.ray_session."""
