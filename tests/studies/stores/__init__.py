"""Tests of studies.stores."""
