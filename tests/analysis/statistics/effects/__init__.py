"""Tests of analysis.statistics.effects."""
