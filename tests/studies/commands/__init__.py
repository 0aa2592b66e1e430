"""Tests of studies.commands."""
