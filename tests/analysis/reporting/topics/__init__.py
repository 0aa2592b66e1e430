"""Tests of analysis.reporting.topics."""
