"""Tests of trainables.data."""
