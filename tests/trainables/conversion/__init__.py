"""Tests of trainables.conversion."""
