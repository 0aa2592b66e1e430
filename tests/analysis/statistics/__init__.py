"""Tests of analysis.statistics."""
