"""Tests of trainables.costs."""
