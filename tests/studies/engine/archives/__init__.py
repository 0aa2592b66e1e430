"""Tests of studies.engine.archives."""
