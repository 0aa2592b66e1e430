"""Tests of analysis.statistics.data."""
