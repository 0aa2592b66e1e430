"""Tests of analysis.reporting.figures."""
