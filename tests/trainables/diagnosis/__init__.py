"""Tests of trainables.diagnosis."""
