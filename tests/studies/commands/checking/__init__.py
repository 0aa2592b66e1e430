"""Tests of studies.commands.checking."""
