"""Tests of analysis.reporting.formats."""
