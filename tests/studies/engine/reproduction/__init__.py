"""Tests of studies.engine.reproduction."""
