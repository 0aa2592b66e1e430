"""Tests of analysis.statistics.search."""
