"""Tests of analysis.records."""
