"""Tests of studies.engine.proposing."""
